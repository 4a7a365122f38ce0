import type { Relation } from "@walcast/model";
import { ProtocolError } from "./errors.ts";
import type { JsonBuffer } from "./json-buffer.ts";
import { toBytes } from "./text.ts";
import type { TypeCatalog } from "./type-catalog.ts";
import { valueWriter, type ValueWriter } from "./value-writers.ts";

const tab = 0x09;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const kindNull = 0x6e;
const kindText = 0x74;
const kindUnchanged = 0x75;
const tagKeyTuple = 0x4b;
const tagOldTuple = 0x4f;
const tagNewTuple = 0x4e;
/** Message tag and relation OID come before the first tuple. */
const tuplesStart = 5;

interface ColumnWriter {
  /** `{"name":` and `,"name":` as JSON bytes. */
  readonly firstKey: Uint8Array;
  readonly nextKey: Uint8Array;
  /** The column's name as a JSON string, for the list of unchanged columns. */
  readonly name: string;
  readonly isKey: boolean;
  readonly write: ValueWriter;
}

/**
 * Turns the insert, update and delete messages of one relation into JSON bytes, straight from pgoutput bytes, without an
 * object per column: parts separated by a tab, in the order the batch format has them (change-log, README).
 *
 * - insert: `{record}`
 * - update: `{record} TAB {old record}`, and ` TAB ["column",…]` when unchanged TOAST values are missing from the record
 * - delete: `{old record}`
 *
 * An old record is the replica identity's columns, or the full row with REPLICA IDENTITY FULL. PostgreSQL sends no old
 * tuple when an update leaves the identity as it was; its columns are then taken from the new one (protocol.md 4.6).
 */
export class RowTranscoder {
  readonly #columns: readonly ColumnWriter[];
  /** Where column i's value stands in the current tuple: kind, start, end. Reused for every row. */
  readonly #new: TupleIndex;
  readonly #old: TupleIndex;

  constructor(relation: Relation, types: TypeCatalog) {
    this.#columns = relation.columns.map((column) => ({
      firstKey: toBytes(`{${JSON.stringify(column.name)}:`),
      nextKey: toBytes(`,${JSON.stringify(column.name)}:`),
      name: JSON.stringify(column.name),
      isKey: column.isKey,
      write: valueWriter(types, column.typeOid),
    }));
    this.#new = makeIndex(relation.columns.length);
    this.#old = makeIndex(relation.columns.length);
  }

  insert(message: Uint8Array, out: JsonBuffer): void {
    const end = this.#read(message, tuplesStart, tagNewTuple, this.#new);
    expectEnd(message, end);
    this.#row(message, out, this.#new);
  }

  update(message: Uint8Array, out: JsonBuffer): void {
    const oldTag = message[tuplesStart];
    const hasOld = oldTag === tagKeyTuple || oldTag === tagOldTuple;
    const newStart = hasOld ? this.#read(message, tuplesStart, oldTag, this.#old) : tuplesStart;
    const end = this.#read(message, newStart, tagNewTuple, this.#new);
    expectEnd(message, end);
    const unchanged = this.#fillUnchanged(oldTag === tagOldTuple);
    this.#row(message, out, this.#new);
    out.byte(tab);
    if (oldTag === tagOldTuple) this.#row(message, out, this.#old);
    else this.#row(message, out, hasOld ? this.#old : this.#new, { keyOnly: true });
    if (unchanged.length > 0) {
      out.byte(tab);
      const list = toBytes(`[${unchanged.join(",")}]`);
      out.raw(list, 0, list.length);
    }
  }

  delete(message: Uint8Array, out: JsonBuffer): void {
    const oldTag = message[tuplesStart];
    if (oldTag !== tagKeyTuple && oldTag !== tagOldTuple) fail(message, tuplesStart, "expected an old tuple");
    expectEnd(message, this.#read(message, tuplesStart, oldTag, this.#old));
    this.#row(message, out, this.#old, { keyOnly: oldTag === tagKeyTuple });
  }

  /** Names of the columns PostgreSQL did not send, after those a full old row carries were filled in. */
  #fillUnchanged(hasFullOld: boolean): string[] {
    const missing: string[] = [];
    const { kinds, starts, ends } = this.#new;
    for (let i = 0; i < kinds.length; i++) {
      if (kinds[i] !== kindUnchanged) continue;
      if (hasFullOld && this.#old.kinds[i] !== kindUnchanged) {
        kinds[i] = this.#old.kinds[i] ?? kindNull;
        starts[i] = this.#old.starts[i] ?? 0;
        ends[i] = this.#old.ends[i] ?? 0;
      } else {
        const column = this.#columns[i];
        if (column !== undefined) missing.push(column.name);
      }
    }
    return missing;
  }

  #row(message: Uint8Array, out: JsonBuffer, index: TupleIndex, part?: { keyOnly: boolean }): void {
    const keyOnly = part?.keyOnly === true;
    const { kinds, starts, ends } = index;
    let isFirst = true;
    for (let i = 0; i < this.#columns.length; i++) {
      const column = this.#columns[i];
      const kind = kinds[i];
      if (column === undefined || kind === kindUnchanged || (keyOnly && !column.isKey)) continue;
      const key = isFirst ? column.firstKey : column.nextKey;
      isFirst = false;
      out.raw(key, 0, key.length);
      if (kind === kindNull) out.ascii("null");
      else column.write(out, message, starts[i] ?? 0, ends[i] ?? 0);
    }
    if (isFirst) out.byte(openBrace);
    out.byte(closeBrace);
  }

  /** Finds the columns of the tuple at `offset`; returns the offset after it. */
  #read(message: Uint8Array, offset: number, tupleTag: number, index: TupleIndex): number {
    if (message[offset] !== tupleTag) fail(message, offset, "expected a tuple");
    const count = ((message[offset + 1] ?? 0) << 8) | (message[offset + 2] ?? 0);
    if (count !== this.#columns.length) {
      fail(message, offset, `tuple has ${count} columns, its relation ${this.#columns.length}`);
    }
    let at = offset + 3;
    for (let i = 0; i < count; i++) {
      const kind = message[at++] ?? fail(message, at, "tuple ends early");
      index.kinds[i] = kind;
      if (kind === kindText) {
        if (at + 4 > message.length) fail(message, at, "tuple ends early");
        const length = readInt32(message, at);
        const start = at + 4;
        if (length < 0 || start + length > message.length) fail(message, at, "value ends early");
        index.starts[i] = start;
        index.ends[i] = at = start + length;
      } else if (kind !== kindNull && kind !== kindUnchanged) {
        fail(message, at - 1, `unknown column kind ${kind}`);
      }
    }
    return at;
  }
}

interface TupleIndex {
  readonly kinds: Uint8Array;
  readonly starts: Int32Array;
  readonly ends: Int32Array;
}

const makeIndex = (length: number): TupleIndex => ({
  kinds: new Uint8Array(length),
  starts: new Int32Array(length),
  ends: new Int32Array(length),
});

/** The relation OID of an insert, update or delete message. */
export function relationOidOf(message: Uint8Array): number {
  if (message.length < tuplesStart) fail(message, message.length, "message ends early");
  return readInt32(message, 1) >>> 0;
}

const readInt32 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0);

function expectEnd(message: Uint8Array, end: number): void {
  if (end !== message.length) fail(message, end, `${message.length - end} bytes too many`);
}

function fail(message: Uint8Array, offset: number, problem: string): never {
  throw new ProtocolError(String.fromCharCode(message[0] ?? 0x3f), offset, problem);
}
