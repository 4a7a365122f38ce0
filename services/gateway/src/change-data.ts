import type { ChangeKind, LoggedChange } from "@walcast/change-log";
import { formatPosition, type Relation } from "@walcast/model";
import { eventNames, type Group } from "./group.ts";

type Dialect = Group["dialect"];

/**
 * The `data` of a change as JSON bytes, joined from slices that the log already holds: nothing is parsed (protocol.md 4.6).
 * Legacy channels get the same with `flags` and `type_modifier` in `columns`.
 */
export class ChangeData {
  readonly #relation: Relation;
  readonly #heads = new Map<string, string>();
  #timestampMicros = -1;
  #timestamp = "";

  constructor(relation: Relation) {
    this.#relation = relation;
  }

  encode(change: LoggedChange, dialect: Dialect): Buffer {
    const { kind, record, oldRecord, unchanged } = change;
    const position = formatPosition(change.position);
    const parts: Buffer[] = [
      Buffer.from(
        `${this.#head(kind, dialect)}"commit_timestamp":"${this.#commitTimestamp(change)}","position":"${position}"`,
      ),
    ];
    if (record !== undefined) parts.push(recordKey, record);
    if (oldRecord !== undefined) parts.push(oldRecordKey, oldRecord);
    if (unchanged !== undefined) parts.push(unchangedKey, unchanged);
    parts.push(kind === "truncate" ? end : endWithErrors);
    return Buffer.concat(parts);
  }

  /** The part that is the same for every change of this kind. */
  #head(kind: ChangeKind, dialect: Dialect): string {
    const key = `${dialect} ${kind}`;
    const known = this.#heads.get(key);
    if (known !== undefined) return known;
    const { schema, table, columns } = this.#relation;
    const about = { type: eventNames[kind], schema, table };
    const described =
      kind === "truncate"
        ? about
        : {
            ...about,
            columns: columns.map(({ name, type, typeModifier, isKey }) =>
              dialect === "current"
                ? { name, type }
                : { flags: isKey ? ["key"] : [], name, type, type_modifier: typeModifier >>> 0 },
            ),
          };
    const head = `${JSON.stringify(described).slice(0, -1)},`;
    this.#heads.set(key, head);
    return head;
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

const recordKey = Buffer.from(',"record":');
const oldRecordKey = Buffer.from(',"old_record":');
const unchangedKey = Buffer.from(',"unchanged":');
const endWithErrors = Buffer.from(',"errors":null}');
const end = Buffer.from("}");
