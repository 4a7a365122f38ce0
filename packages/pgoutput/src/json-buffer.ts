import { toBytes, toText } from "./text.ts";

const hexDigits = "0123456789abcdef";
/** JSON's short escapes (RFC 8259, section 7) by byte; other control bytes take \u00XX. */
const shortEscapes = new Map<number, number>([
  [0x08, 0x62],
  [0x09, 0x74],
  [0x0a, 0x6e],
  [0x0c, 0x66],
  [0x0d, 0x72],
]);

/** Below this many bytes a loop beats `set(subarray())`, whose cost is the two objects it makes. */
const loopCopyLimit = 40;

const isPlain = (byte: number): boolean => byte >= 0x20 && byte !== 0x22 && byte !== 0x5c;

/** A growing buffer that JSON text is written to as UTF-8 bytes; reused for batch after batch. */
export class JsonBuffer {
  #bytes: Uint8Array<ArrayBuffer>;
  #length = 0;

  constructor(initialBytes = 64 * 1024) {
    this.#bytes = new Uint8Array(initialBytes);
  }

  get length(): number {
    return this.#length;
  }

  /** A copy of what was written, which the caller may keep. */
  toBytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }

  clear(): void {
    this.#length = 0;
  }

  /** Takes back everything after `length`. */
  truncate(length: number): void {
    this.#length = Math.min(this.#length, length);
  }

  byte(value: number): void {
    if (this.#length === this.#bytes.length) this.#grow(1);
    this.#bytes[this.#length++] = value;
  }

  /** Text that is known to be ASCII. */
  ascii(text: string): void {
    this.#reserve(text.length);
    const bytes = this.#bytes;
    let to = this.#length;
    for (let i = 0; i < text.length; i++) bytes[to++] = text.charCodeAt(i);
    this.#length = to;
  }

  utf8(text: string): void {
    const bytes = toBytes(text);
    this.raw(bytes, 0, bytes.length);
  }

  raw(source: Uint8Array, start: number, end: number): void {
    const length = end - start;
    this.#reserve(length);
    if (length < loopCopyLimit) {
      const bytes = this.#bytes;
      let to = this.#length;
      for (let i = start; i < end; i++) bytes[to++] = source[i] ?? 0;
      this.#length = to;
      return;
    }
    this.#bytes.set(source.subarray(start, end), this.#length);
    this.#length += length;
  }

  /** A JSON string of UTF-8 text, quotes included. */
  string(source: Uint8Array, start: number, end: number): void {
    this.byte(0x22);
    for (let at = start; at < end;) {
      const clean = this.#clean(source, at, end);
      if (clean < end) this.#escape(source[clean] ?? 0);
      at = clean + 1;
    }
    this.byte(0x22);
  }

  /** Copies up to the first byte that needs an escape, and returns where that is. */
  #clean(source: Uint8Array, start: number, end: number): number {
    if (end - start >= loopCopyLimit) {
      let at = start;
      while (at < end && isPlain(source[at] ?? 0)) at++;
      this.raw(source, start, at);
      return at;
    }
    this.#reserve(end - start);
    const bytes = this.#bytes;
    let to = this.#length;
    let at = start;
    for (; at < end; at++) {
      const byte = source[at] ?? 0;
      if (!isPlain(byte)) break;
      bytes[to++] = byte;
    }
    this.#length = to;
    return at;
  }

  /**
   * JSON text as PostgreSQL sent it. A raw tab or line break can only be white space between tokens there; it becomes a
   * space, because the batch format separates by tab and line.
   */
  json(source: Uint8Array, start: number, end: number): void {
    const from = this.#length;
    this.raw(source, start, end);
    for (let i = from; i < this.#length; i++) {
      const byte = this.#bytes[i];
      if (byte === 0x09 || byte === 0x0a || byte === 0x0d) this.#bytes[i] = 0x20;
    }
  }

  toString(): string {
    return toText(this.#bytes, 0, this.#length);
  }

  #escape(byte: number): void {
    this.byte(0x5c);
    if (byte === 0x22 || byte === 0x5c) return this.byte(byte);
    const short = shortEscapes.get(byte);
    if (short !== undefined) return this.byte(short);
    return this.ascii(`u00${hexDigits[byte >> 4]}${hexDigits[byte & 15]}`);
  }

  #reserve(length: number): void {
    if (this.#length + length > this.#bytes.length) this.#grow(length);
  }

  #grow(length: number): void {
    let size = this.#bytes.length * 2;
    while (size < this.#length + length) size *= 2;
    const grown = new Uint8Array(size);
    grown.set(this.#bytes);
    this.#bytes = grown;
  }
}
