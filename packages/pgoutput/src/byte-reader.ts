import { toLsn, type Lsn } from "@walcast/model";
import { ProtocolError } from "./errors.ts";
import { toText } from "./text.ts";

/** Reads the integers and strings of one message in order; every short read is a ProtocolError, never a wrong value. */
export class ByteReader {
  readonly bytes: Uint8Array;
  offset = 0;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  fail(problem: string): never {
    const first = this.bytes[0];
    throw new ProtocolError(first === undefined ? "?" : String.fromCharCode(first), this.offset, problem);
  }

  #advance(length: number): number {
    const start = this.offset;
    if (length < 0 || start + length > this.bytes.length) {
      this.fail(`needs ${length} more bytes, has ${this.bytes.length - start}`);
    }
    this.offset = start + length;
    return start;
  }

  uint8(): number {
    return this.#view.getUint8(this.#advance(1));
  }

  int16(): number {
    return this.#view.getInt16(this.#advance(2));
  }

  int32(): number {
    return this.#view.getInt32(this.#advance(4));
  }

  uint32(): number {
    return this.#view.getUint32(this.#advance(4));
  }

  int64(): bigint {
    return this.#view.getBigInt64(this.#advance(8));
  }

  lsn(): Lsn {
    return toLsn(this.#view.getBigUint64(this.#advance(8)));
  }

  char(): string {
    return String.fromCharCode(this.uint8());
  }

  /** A NUL-terminated string. */
  cstring(): string {
    const end = this.bytes.indexOf(0, this.offset);
    if (end === -1) this.fail("string without an end");
    const text = toText(this.bytes, this.offset, end);
    this.offset = end + 1;
    return text;
  }

  /** The next `length` bytes, not copied. */
  slice(length: number): Uint8Array {
    const start = this.#advance(length);
    return this.bytes.subarray(start, start + length);
  }

  text(length: number): string {
    const start = this.#advance(length);
    return toText(this.bytes, start, start + length);
  }

  end(): void {
    if (this.offset !== this.bytes.length) this.fail(`${this.bytes.length - this.offset} bytes too many`);
  }
}
