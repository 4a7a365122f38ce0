import type { Comparable } from "./comparable.ts";
import type { ShapeColumn, TableShape } from "./table-shape.ts";

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;

/** Strings are looked through byte by byte so far, then by the platform's own search, whose call costs as much. */
const loopLimit = 32;

/**
 * The values of single columns of a record, found in its JSON bytes without parsing it: numbers keep every digit, and what
 * nobody asks for is only stepped over. Relies on what the transcoder writes: an object without white space between its own
 * tokens. Columns may be missing, and are usually in the table's order.
 */
export class RecordReader {
  readonly #json: Buffer;
  readonly #columns: readonly ShapeColumn[];
  /** Where column i's value begins and ends, as far as the record was stepped through. */
  readonly #starts: (number | undefined)[] = [];
  readonly #ends: (number | undefined)[] = [];
  readonly #texts: (string | null | undefined)[] = [];
  readonly #values: (Comparable | null | undefined)[] = [];
  #spent: Map<object, number> | undefined;
  #at = 1;
  #next = 0;

  constructor(json: Buffer, { columns }: TableShape) {
    this.#json = json;
    this.#columns = columns;
  }

  /**
   * The column's value as text: a JSON string's content, else the JSON itself, which is all there is of a JSON column. `null`,
   * or `undefined` when it is absent.
   */
  text(index: number): string | null | undefined {
    const known = this.#texts[index];
    if (known !== undefined) return known;
    const raw = this.raw(index);
    if (raw === undefined) return undefined;
    const isString = raw.startsWith('"') && this.#columns[index]?.isJson !== true;
    const text = raw === "null" ? null : isString ? (JSON.parse(raw) as string) : raw;
    this.#texts[index] = text;
    return text;
  }

  /** The column's value as its type compares; `undefined` also when it is not what the type says. */
  value(index: number): Comparable | null | undefined {
    const known = this.#values[index];
    if (known !== undefined) return known;
    if (!this.#find(index)) return undefined;
    const type = this.#columns[index]?.type;
    let value: Comparable | null | undefined = type?.readBytes?.(
      this.#json,
      this.#starts[index] ?? 0,
      this.#ends[index] ?? 0,
    );
    if (value === undefined) {
      const text = this.text(index);
      value = typeof text === "string" ? type?.read(text) : text;
    }
    this.#values[index] = value;
    return value;
  }

  /** The column's value as JSON; `undefined` when it is absent. */
  raw(index: number): string | undefined {
    return this.#find(index) ? this.#json.toString("utf8", this.#starts[index], this.#ends[index]) : undefined;
  }

  /** Adds to what was spent on this record for somebody; returns the sum. */
  spend(whom: object, steps: number): number {
    this.#spent ??= new Map();
    const sum = (this.#spent.get(whom) ?? 0) + steps;
    this.#spent.set(whom, sum);
    return sum;
  }

  /** How long the column's text is; `undefined` when it is absent. */
  textBytes(index: number): number | undefined {
    if (!this.#find(index)) return undefined;
    const [start, end] = [this.#starts[index] ?? 0, this.#ends[index] ?? 0];
    if (this.#json[start] !== quote) return end - start;
    const isPlain = !this.#json.subarray(start, end).includes(backslash);
    return isPlain ? end - start - 2 : Buffer.byteLength(String(this.text(index)));
  }

  /** A record of these columns alone, in this order, cut out of this one: absent columns stay absent. */
  project(indexes: readonly number[]): Buffer {
    const parts: Buffer[] = [];
    for (const index of indexes) {
      const column = this.#columns[index];
      if (column === undefined || !this.#find(index)) continue;
      parts.push(
        parts.length === 0 ? opening : separator,
        column.key,
        this.#json.subarray(this.#starts[index], this.#ends[index]),
      );
    }
    if (parts.length === 0) parts.push(opening);
    parts.push(closing);
    return Buffer.concat(parts);
  }

  /** Steps on until the column is found, or the record ends. */
  #find(index: number): boolean {
    while (this.#starts[index] === undefined) {
      if (this.#json[this.#at] !== quote) return false;
      const found = this.#columnHere();
      const start = found === undefined ? this.#skipString(this.#at) + 1 : this.#at + found.key.length;
      const end = this.#skipValue(start);
      if (found !== undefined) {
        this.#starts[found.index] = start;
        this.#ends[found.index] = end;
        this.#next = found.index + 1;
      }
      this.#at = end + 1;
    }
    return true;
  }

  /** The column whose key stands at the present place: almost always the next one. */
  #columnHere(): ShapeColumn | undefined {
    for (let i = 0; i < this.#columns.length; i++) {
      const column = this.#columns[(this.#next + i) % this.#columns.length];
      if (column !== undefined && this.#isAt(column.key)) return column;
    }
    return undefined;
  }

  #isAt(key: Buffer): boolean {
    const json = this.#json;
    const at = this.#at;
    if (at + key.length > json.length) return false;
    for (let i = 0; i < key.length; i++) if (json[at + i] !== key[i]) return false;
    return true;
  }

  /** From an opening quote to behind the closing one. */
  #skipString(start: number): number {
    const json = this.#json;
    const loopEnd = Math.min(json.length, start + loopLimit);
    let at = start + 1;
    while (at < loopEnd) {
      const byte = json[at];
      if (byte === quote) return at + 1;
      at += byte === backslash ? 2 : 1;
    }
    for (;;) {
      const end = json.indexOf(quote, at);
      if (end === -1) return json.length;
      let slashes = 0;
      while (end - slashes > at && json[end - slashes - 1] === backslash) slashes++;
      at = end + 1;
      if (slashes % 2 === 0) return at;
    }
  }

  #skipValue(start: number): number {
    const json = this.#json;
    let depth = 0;
    for (let at = start; at < json.length;) {
      const byte = json[at];
      if (byte === quote) {
        at = this.#skipString(at);
        continue;
      }
      if (byte === openBrace || byte === openBracket) depth++;
      else if (byte === closeBrace || byte === closeBracket) {
        if (depth === 0) return at;
        depth--;
      } else if (byte === comma && depth === 0) return at;
      at++;
    }
    return json.length;
  }
}

const opening = Buffer.from("{");
const separator = Buffer.from(",");
const closing = Buffer.from("}");
