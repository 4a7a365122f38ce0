const quote = 0x22;
const backslash = 0x5c;

/**
 * The values of single columns of a record, found in its JSON bytes without parsing it whole: numbers keep every digit.
 * Relies on what the transcoder writes: an object without white space between its own tokens.
 */
export class RecordReader {
  readonly #json: Buffer;
  /** Value bounds by column, as far as the record was scanned. */
  readonly #found = new Map<string, { start: number; end: number }>();
  #at = 1;

  constructor(json: Buffer) {
    this.#json = json;
  }

  /** The column's value as text (a JSON string's content, else the JSON itself), `null`, or `undefined` when it is absent. */
  text(column: string): string | null | undefined {
    const bounds = this.#find(column);
    if (bounds === undefined) return undefined;
    const raw = this.#json.toString("utf8", bounds.start, bounds.end);
    if (raw === "null") return null;
    return raw.startsWith('"') ? (JSON.parse(raw) as string) : raw;
  }

  #find(column: string): { start: number; end: number } | undefined {
    const known = this.#found.get(column);
    if (known !== undefined) return known;
    while (this.#at < this.#json.length && this.#json[this.#at] === quote) {
      const keyEnd = this.#skipString(this.#at);
      const key = JSON.parse(this.#json.toString("utf8", this.#at, keyEnd)) as string;
      const bounds = { start: keyEnd + 1, end: this.#skipValue(keyEnd + 1) };
      this.#found.set(key, bounds);
      this.#at = bounds.end + 1;
      if (key === column) return bounds;
    }
    return undefined;
  }

  /** From an opening quote to behind the closing one. */
  #skipString(start: number): number {
    let at = start + 1;
    while (at < this.#json.length && this.#json[at] !== quote) at += this.#json[at] === backslash ? 2 : 1;
    return at + 1;
  }

  #skipValue(start: number): number {
    let depth = 0;
    for (let at = start; at < this.#json.length;) {
      const byte = this.#json[at];
      if (byte === quote) {
        at = this.#skipString(at);
        continue;
      }
      if (byte === 0x7b || byte === 0x5b) depth++;
      else if (byte === 0x7d || byte === 0x5d) {
        if (depth === 0) return at;
        depth--;
      } else if (byte === 0x2c && depth === 0) return at;
      at++;
    }
    return this.#json.length;
  }
}
