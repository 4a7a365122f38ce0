import type { ChangeKind, LoggedChange } from "@walcast/change-log";
import { formatLsn, formatPosition, type Relation } from "@walcast/model";
import { RecordReader, shapeOf, type TableShape } from "@walcast/subscriptions";
import { eventNames, type Group } from "./group.ts";
import type { RowTags } from "./row-tags.ts";

type Dialect = Group["dialect"];

export interface ChangeDataOptions {
  /** Of a change with larger records only the short values are sent, with an error; 0: records of any size are sent. */
  readonly maxRecordBytes: number;
  /** Of rows that somebody keeps. */
  readonly tags?: RowTags | undefined;
}

/** What the data of one change differs in between those who get it. */
export interface DataForm {
  readonly dialect: Dialect;
  /** Beside the position: commit LSN, transaction, and commit time in microseconds. */
  readonly hasMeta?: boolean | undefined;
  /** The primary key, for those who keep rows: they get the row's tag. */
  readonly key?: readonly string[] | undefined;
  /** The columns it is cut down to; `undefined` for all. */
  readonly select: readonly string[] | undefined;
  /** Those of the old record, where they are others. */
  readonly oldSelect?: readonly string[] | undefined;
}

/** What is the same for every change in one form. */
interface Layout {
  /** Places of the chosen columns in the table; `undefined` for all of them. */
  readonly chosen: readonly number[] | undefined;
  readonly heads: Map<ChangeKind, string>;
}

/** How long a value may be to be sent of a record that is too large (protocol.md 4.6). */
const shortValueBytes = 64;

/** Layouts remembered for one table; there are as many as clients think of selections. */
const layoutsLimit = 1_000;

/**
 * The `data` of a change as JSON bytes, joined from slices that the log already holds: nothing is parsed (protocol.md 4.6).
 * Legacy channels get the same with `flags` and `type_modifier` in `columns`.
 */
export class ChangeData {
  readonly relation: Relation;
  readonly #shape: TableShape;
  readonly #options: ChangeDataOptions;
  readonly #layouts = new Map<string, Layout>();
  #timestampMicros = -1;
  #timestamp = "";

  constructor(relation: Relation, options: ChangeDataOptions) {
    this.relation = relation;
    this.#shape = shapeOf(relation.columns);
    this.#options = options;
  }

  encode(change: LoggedChange, form: DataForm): Buffer {
    const { kind, record, oldRecord, unchanged } = change;
    const layout = this.#layout(form);
    const isTooLarge = this.#isTooLarge(change);
    const position = `"${formatPosition(change.position)}"${form.hasMeta === true ? this.#meta(change) : ""}${this.#row(change, form)}`;
    const parts: Buffer[] = [
      Buffer.from(
        `${this.#head(kind, form, layout)}"commit_timestamp":"${this.#commitTimestamp(change)}","position":${position}`,
      ),
    ];
    const { oldSelect } = form;
    const old = oldSelect === undefined ? layout : this.#layout({ dialect: form.dialect, select: oldSelect });
    const cut = (json: Buffer, { chosen }: Layout): Buffer => this.#cut(json, { chosen, isTooLarge });
    if (record !== undefined) parts.push(recordKey, cut(record, layout));
    if (oldRecord !== undefined) parts.push(oldRecordKey, cut(oldRecord, old));
    const notSent = unchanged === undefined ? undefined : this.#chosenNames(unchanged, form);
    if (notSent !== undefined) parts.push(unchangedKey, notSent);
    parts.push(kind === "truncate" ? end : isTooLarge ? endTooLarge : endWithErrors);
    return Buffer.concat(parts);
  }

  /** A change that may be known of, and nothing more: no columns, no values, no time (protocol.md 4.6). */
  encodeRefused({ kind, position }: LoggedChange, error: string): Buffer {
    const { schema, table } = this.relation;
    const empty = {
      ...(kind === "insert" || kind === "update" ? { record: {} } : {}),
      ...(kind === "update" || kind === "delete" ? { old_record: {} } : {}),
    };
    const about = { type: eventNames[kind], schema, table, columns: [], commit_timestamp: null };
    return Buffer.from(JSON.stringify({ ...about, position: formatPosition(position), ...empty, errors: [error] }));
  }

  #isTooLarge({ record, oldRecord }: LoggedChange): boolean {
    const { maxRecordBytes } = this.#options;
    return maxRecordBytes > 0 && (record?.length ?? 0) + (oldRecord?.length ?? 0) > maxRecordBytes;
  }

  /** The record as it is, or slices of it. */
  #cut(json: Buffer, { chosen, isTooLarge }: { chosen: Layout["chosen"]; isTooLarge: boolean }): Buffer {
    if (chosen === undefined && !isTooLarge) return json;
    const reader = new RecordReader(json, this.#shape);
    const columns = chosen ?? this.#shape.columns.map(({ index }) => index);
    return reader.project(isTooLarge ? columns.filter((index) => isShort(reader, index)) : columns);
  }

  /** The names of unchanged columns, of those that are chosen. */
  #chosenNames(unchanged: Buffer, { select }: DataForm): Buffer | undefined {
    if (select === undefined) return unchanged;
    const names = (JSON.parse(unchanged.toString()) as string[]).filter((name) => select.includes(name));
    return names.length === 0 ? undefined : Buffer.from(JSON.stringify(names));
  }

  #layout({ dialect, select }: DataForm): Layout {
    const key = `${dialect} ${select === undefined ? "" : JSON.stringify(select)}`;
    const known = this.#layouts.get(key);
    if (known !== undefined) return known;
    const isChosen = select === undefined ? undefined : new Set(select);
    const chosen =
      isChosen === undefined
        ? undefined
        : this.#shape.columns.filter(({ name }) => isChosen.has(name)).map(({ index }) => index);
    const layout = { chosen, heads: new Map<ChangeKind, string>() };
    if (this.#layouts.size >= layoutsLimit) this.#layouts.clear();
    this.#layouts.set(key, layout);
    return layout;
  }

  /** The part that is the same for every change of this kind. */
  #head(kind: ChangeKind, { dialect }: DataForm, { chosen, heads }: Layout): string {
    const known = heads.get(kind);
    if (known !== undefined) return known;
    const { schema, table, columns } = this.relation;
    const about = { type: eventNames[kind], schema, table };
    const sent = chosen === undefined ? columns : columns.filter((_, index) => chosen.includes(index));
    const described =
      kind === "truncate"
        ? about
        : {
            ...about,
            columns: sent.map(({ name, type, typeModifier, isKey }) =>
              dialect === "current"
                ? { name, type }
                : { flags: isKey ? ["key"] : [], name, type, type_modifier: typeModifier >>> 0 },
            ),
          };
    const head = `${JSON.stringify(described).slice(0, -1)},`;
    heads.set(kind, head);
    return head;
  }

  /** The name of the row as it was before the change, or as it is now. */
  tag(record: Buffer | undefined, key: readonly string[]): string | undefined {
    return record && this.#options.tags?.tag(this.relation, key, record);
  }

  /** The identity does not have the whole key: where the key is changed, nothing says which row it was. */
  lacksKey(key: readonly string[]): boolean {
    const { replicaIdentity, columns } = this.relation;
    return replicaIdentity !== "f" && columns.some(({ name, isKey }) => !isKey && key.includes(name));
  }

  #row({ kind, record, oldRecord }: LoggedChange, { key }: DataForm): string {
    if (key === undefined) return "";
    const tag = this.tag(record ?? oldRecord, key);
    const isUnkeyed = kind === "update" && this.lacksKey(key);
    return `${tag === undefined ? "" : `,"row":"${tag}"`}${isUnkeyed ? ',"unkeyed":true' : ""}`;
  }

  #meta(change: LoggedChange): string {
    const micros = String(change.committedAtMicros % 1_000).padStart(3, "0");
    const committedAt = `${this.#commitTimestamp(change).slice(0, -1)}${micros}Z`;
    return `,"commit_lsn":"${formatLsn(change.position.commitLsn)}","xid":${change.xid},"committed_at":"${committedAt}"`;
  }

  /** UTC with exactly three decimals; changes of one transaction follow each other, so the last one is kept. */
  #commitTimestamp({ committedAtMicros }: LoggedChange): string {
    if (committedAtMicros !== this.#timestampMicros) {
      this.#timestampMicros = committedAtMicros;
      this.#timestamp = new Date(Math.floor(committedAtMicros / 1000)).toISOString();
    }
    return this.#timestamp;
  }
}

/** Whether the value is sent of a record that is too large. */
export const isShort = (reader: RecordReader, index: number): boolean => {
  const bytes = reader.textBytes(index);
  return bytes !== undefined && bytes <= shortValueBytes;
};

const recordKey = Buffer.from(',"record":');
const oldRecordKey = Buffer.from(',"old_record":');
const unchangedKey = Buffer.from(',"unchanged":');
const endWithErrors = Buffer.from(',"errors":null}');
const endTooLarge = Buffer.from(',"errors":["Error 413: Payload Too Large"]}');
const end = Buffer.from("}");
