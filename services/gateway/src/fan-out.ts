import type { LoggedChange } from "@walcast/change-log";
import { formatPosition, type Position } from "@walcast/model";
import type { ChangeData } from "./change-data.ts";
import { eventNames, formOf, type Group, type View } from "./group.ts";

/** Takes the frame of a change, once for all members of the group. */
export type Emit = (group: Group, frame: Buffer, position: Position) => void;

/** Who wants a change. */
export interface Match {
  readonly view: View;
  readonly ids: readonly number[];
}

/** For whom a row leaves: those who keep rows. */
type Leaving = Pick<Match, "ids"> & { readonly group: Group };

/** What of a change somebody may see. */
export type CutRule =
  | { readonly tag: "refused"; readonly error: string }
  | {
      readonly tag: "delivered";
      readonly columns: readonly string[] | undefined;
      readonly oldColumns: readonly string[] | undefined;
    };

/**
 * Turns one change into frames: its data is built once for each dialect and column selection, a frame once for each group and
 * selection.
 */
export class FanOut {
  readonly #data: ChangeData;
  readonly #change: LoggedChange;
  /** By what they differ in. */
  #datas: Map<string, Buffer> | undefined;
  /** The last frame that a rule let through: readers of one audience get the same bytes one after the other. */
  #shared: SharedFrame | undefined;

  constructor(data: ChangeData, change: LoggedChange) {
    this.#data = data;
    this.#change = change;
  }

  /** `matches`: the views that want the change, with the ids of their bindings that do. */
  all(matches: ReadonlyMap<View, readonly number[]>, emit: Emit): void {
    for (const [view, ids] of matches) {
      if (view.isLeaving === true) this.left({ view, ids }, emit);
      else this.#emit({ view, ids }, this.#dataOf({ view, ids }), emit);
    }
  }

  /** Tells those who keep rows that the row is none of theirs any more. */
  left({ view: { group }, ids }: Match, emit: Emit): void {
    this.#left({ group, ids }, isUndecided(this.#change, group, ids) ? { unknown: true } : {}, emit);
  }

  /** Tells them of a row that they may not see, and nothing that depends on what is in it. */
  hidden(leaving: Leaving, emit: Emit): void {
    this.#left(leaving, {}, emit);
  }

  #left({ group, ids }: Leaving, more: object, emit: Emit): void {
    const change = this.#change;
    const key = keyOf(group, ids);
    const row = this.#data.tag(change.oldRecord, key) ?? this.#data.tag(change.record, key);
    const unknown = this.#data.lacksKey(key) ? { unknown: true } : {};
    if (row === undefined && !("unknown" in unknown)) return;
    const { schema, table } = this.#data.relation;
    const { head, tail } = group.serializer.fanOut(group.topic, "row_left");
    const position = formatPosition(change.position);
    const payload = { bindings: ids, schema, table, row: row ?? null, position, ...more, ...unknown };
    emit(group, Buffer.from(`${head}${JSON.stringify(payload)}${tail}`), change.position);
  }

  /** The change as far as a rule lets it through: cut down to columns, or refused with an error. */
  ruled(match: Match, rule: CutRule, emit: Emit): void {
    const { view, ids } = match;
    if (rule.tag === "refused") return this.#emit(match, this.#data.encodeRefused(this.#change, rule.error), emit);
    const select = both(view.select, rule.columns);
    if (select === view.select && rule.oldColumns === undefined)
      return this.#emitShared(match, this.#dataOf(match), emit);
    const oldSelect = rule.oldColumns === undefined ? undefined : both(select, rule.oldColumns);
    const dataKey = JSON.stringify(formOf(view.group, select, oldSelect));
    return this.#emitShared(match, this.#dataOf({ ids, view: { ...view, select, dataKey } }, oldSelect), emit);
  }

  #dataOf({ view: { group, select, dataKey }, ids }: Match, oldSelect?: readonly string[]): Buffer {
    const key = group.holdsRows === "collection" ? keyOf(group, ids) : undefined;
    const form = key === undefined ? dataKey : JSON.stringify([dataKey, key]);
    this.#datas ??= new Map();
    let data = this.#datas.get(form);
    if (data === undefined) {
      const { dialect, hasMeta } = group;
      data = this.#data.encode(this.#change, { dialect, hasMeta, key, select, oldSelect });
      this.#datas.set(form, data);
    }
    return data;
  }

  #emit(match: Match, data: Buffer, emit: Emit): void {
    emit(match.view.group, frameOf(this.#change, match, data), this.#change.position);
  }

  #emitShared(match: Match, data: Buffer, emit: Emit): void {
    const { group } = match.view;
    let shared = this.#shared;
    if (shared?.data !== data || shared.frameKey !== group.frameKey || !areSame(shared.ids, match.ids)) {
      shared = { frameKey: group.frameKey, ids: match.ids, data, frame: frameOf(this.#change, match, data) };
      this.#shared = shared;
    }
    emit(group, shared.frame, this.#change.position);
  }
}

interface SharedFrame {
  readonly frameKey: string;
  readonly ids: readonly number[];
  readonly data: Buffer;
  readonly frame: Buffer;
}

const areSame = (one: readonly number[], other: readonly number[]): boolean =>
  one === other || (one.length === other.length && one.every((id, i) => id === other[i]));

function frameOf({ kind }: LoggedChange, { view: { group }, ids }: Match, data: Buffer): Buffer {
  const head = isWrapped(group) ? currentHead(group, ids) : legacyHead(group, eventNames[kind]);
  return Buffer.concat([head, data, tailOf(group)]);
}

/** The columns that are in both, in the order of the selection; `undefined` is all. */
function both(
  select: readonly string[] | undefined,
  columns: readonly string[] | undefined,
): readonly string[] | undefined {
  if (columns === undefined || select === undefined) return select ?? columns;
  const isIn = new Set(columns);
  return select.filter((name) => isIn.has(name));
}

const isWrapped = ({ dialect, holdsRows }: Group): boolean => dialect === "current" || holdsRows === "collection";

/** A filter looks at a value that PostgreSQL did not send: whether the row still passes is not known. */
function isUndecided({ unchanged }: LoggedChange, { filtered }: Group, ids: readonly number[]): boolean {
  if (unchanged === undefined) return false;
  const missing = new Set(JSON.parse(unchanged.toString()) as string[]);
  const looksAtMissing = (column: string): boolean => missing.has(column) || missing.has(column.split("->")[0] ?? "");
  return ids.some((id) => filtered.get(id)?.some(looksAtMissing) ?? false);
}

/** Bindings that match one change are of one table. */
const keyOf = ({ keys }: Group, ids: readonly number[]): readonly string[] => keys.get(ids[0] ?? 0) ?? [];

/** Around the data of a `postgres_changes` frame: its ids. */
function currentHead(group: Group, ids: readonly number[]): Buffer {
  const key = ids.join(",");
  return remember(group, key, () => {
    // Client libraries rebuild what names `ids`, and drop what they do not know of it.
    const [event, name] = group.holdsRows === "collection" ? ["row_change", "bindings"] : ["postgres_changes", "ids"];
    const { head } = group.serializer.fanOut(group.topic, event);
    return `${head}{"${name}":[${key}],"data":`;
  });
}

/** A legacy frame's event is the kind of change, its payload the data itself. */
const legacyHead = (group: Group, event: string): Buffer =>
  remember(group, event, () => group.serializer.fanOut(group.topic, event).head);

/** A channel with many bindings has very many sets of ids that may match. */
const headsLimit = 1_000;

function remember(group: Group, key: string, make: () => string): Buffer {
  const known = group.heads.get(key);
  if (known !== undefined) return known;
  const head = Buffer.from(make());
  if (group.heads.size >= headsLimit) group.heads.clear();
  group.heads.set(key, head);
  return head;
}

const tailOf = (group: Group): Buffer =>
  remember(group, "tail", () => {
    const { tail } = group.serializer.fanOut(group.topic, "");
    return isWrapped(group) ? `}${tail}` : tail;
  });
