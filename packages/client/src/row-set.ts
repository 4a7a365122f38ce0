/** A row as the server sends it. */
export type Row = Readonly<Record<string, unknown>>;

/** What became of one row. `key`: its primary key as text; of several columns, as a JSON array. */
export type RowChange =
  | { readonly type: "insert"; readonly key: string; readonly row: Row }
  | { readonly type: "update"; readonly key: string; readonly row: Row; readonly old: Row }
  | { readonly type: "delete"; readonly key: string; readonly old: Row };

/** A page of the rows that there are. */
export interface RowsPage {
  readonly page: number;
  readonly key: readonly string[];
  readonly rows: readonly Row[];
  readonly tags?: readonly (string | null)[];
  /** Places of rows that came without their long values. */
  readonly too_large?: readonly number[];
  readonly done: boolean;
}

/** A change of one row, or of all. */
export interface RowData {
  readonly type: string;
  readonly record?: Row;
  readonly old_record?: Row;
  /** Names the row where it leaves without its key being told. */
  readonly row?: string;
  /** Nothing says which row it was, where it is none that is here. */
  readonly unkeyed?: boolean;
  /** Columns whose values did not change and were not sent. */
  readonly unchanged?: readonly string[];
  /** Why values are missing. */
  readonly errors?: readonly string[] | null;
}

/** What is known of some rows. */
interface Known {
  readonly rows: Map<string, Row>;
  /** Keys of rows by their tags. */
  readonly keys: Map<string, string>;
}

/**
 * Rows by key, made of pages and changes. Pages take the place of all rows when the last of them has come: who looks sees
 * what is different, and never a set that is half there. Pure: channels are the caller's.
 */
export class RowSet {
  readonly rows = new Map<string, Row>();
  #keys = new Map<string, string>();
  readonly #isKeyGiven: boolean;
  #key: readonly string[];
  #coming: Known | undefined;

  /** `key`: where it is not the primary key that tells rows apart. */
  constructor(key: readonly string[] = []) {
    this.#key = key;
    this.#isKeyGiven = key.length > 0;
  }

  /** What the last page changed; `undefined` while more are to come. */
  page({ page, key, rows, tags, done }: RowsPage): RowChange[] | undefined {
    if (!this.#isKeyGiven && page === 0) this.#key = key;
    const coming = page === 0 || this.#coming === undefined ? { rows: new Map(), keys: new Map() } : this.#coming;
    this.#coming = coming;
    for (const [i, row] of rows.entries()) {
      const its = this.#keyOf(row) ?? JSON.stringify(row);
      coming.rows.set(its, row);
      const tag = tags?.[i];
      if (typeof tag === "string") coming.keys.set(tag, its);
    }
    if (!done) return undefined;
    this.#coming = undefined;
    this.#keys = coming.keys;
    return [
      ...[...this.rows.keys()].filter((its) => !coming.rows.has(its)).flatMap((its) => this.#delete(its)),
      ...[...coming.rows].flatMap(([its, row]) => this.#set(its, row)),
    ];
  }

  /** What it changed; `undefined` when the rows have to be asked for again: values are missing that were never here. */
  change({ type, record, old_record: old, row: tag, unkeyed, unchanged, errors }: RowData): RowChange[] | undefined {
    if (type === "TRUNCATE") {
      this.#keys.clear();
      return [...this.rows.keys()].flatMap((its) => this.#delete(its));
    }
    if (errors?.some(isTooLarge) === true) return undefined;
    const former = old && this.#keyOf(old);
    if (record === undefined) {
      const gone = former ?? this.#keys.get(tag ?? "");
      if (tag !== undefined) this.#keys.delete(tag);
      if (gone !== undefined) return this.#delete(gone);
      return (errors ?? []).length > 0 ? [] : undefined; // its identity is not the key
    }
    const its = this.#keyOf(record);
    if (its === undefined) return (errors ?? []).length > 0 ? [] : undefined; // not to be read, or of another key
    const known = this.rows.get(former ?? its);
    if (known === undefined && (unchanged !== undefined || unkeyed === true)) return undefined;
    const row = { ...record };
    for (const name of unchanged ?? []) row[name] = known?.[name];
    if (tag !== undefined) this.#keys.set(tag, its);
    return [...(former === undefined || former === its ? [] : this.#delete(former)), ...this.#set(its, row)];
  }

  /** The row of this name is not among them any more. */
  left(tag: string): RowChange[] {
    const its = this.#keys.get(tag);
    this.#keys.delete(tag);
    return its === undefined ? [] : this.#delete(its);
  }

  #keyOf(row: Row): string | undefined {
    const values = this.#key.map((name) => row[name]);
    if (values.length === 0 || values.includes(undefined)) return undefined;
    return values.length === 1 ? String(values[0]) : JSON.stringify(values);
  }

  #set(key: string, row: Row): RowChange[] {
    const old = this.rows.get(key);
    this.rows.set(key, row);
    if (old === undefined) return [{ type: "insert", key, row }];
    return sorted(old) === sorted(row) ? [] : [{ type: "update", key, row, old }];
  }

  #delete(key: string): RowChange[] {
    const old = this.rows.get(key);
    this.rows.delete(key);
    return old === undefined ? [] : [{ type: "delete", key, old }];
  }
}

/** Its long values did not come. */
export const isTooLarge = (error: string): boolean => error.startsWith("Error 413");

const sorted = (row: Row): string => JSON.stringify(Object.entries(row).toSorted(([a], [b]) => (a < b ? -1 : 1)));
