import type { LoggedChange } from "@walcast/change-log";
import type { Relation } from "@walcast/model";
import {
  AccessDeniedError,
  RoleNotGrantedError,
  RoleUnknownError,
  ruleFor,
  unauthorized,
  type AccessAnswer,
  type ChangeRule,
  type KeyColumn,
  type RowKind,
} from "@walcast/row-security";
import { RecordReader, shapeOf } from "@walcast/subscriptions";
import type { CutRule, Emit, FanOut } from "./fan-out.ts";
import type { Group, Listener, View } from "./group.ts";

/** A change on its way to a group whose rights have to be looked at. */
export interface GuardedChange {
  readonly group: Group;
  /** Its views that want the change, with the ids of their bindings that do. */
  readonly wants: readonly (readonly [View, readonly number[]])[];
  readonly change: LoggedChange;
  readonly relation: Relation;
  readonly fanOut: FanOut;
  readonly emit: Emit;
}

/** Messages and marks concern no table: nobody subscribes to them. */
const rowKinds = new Set<string>(["insert", "update", "delete", "truncate"]);

/** How the change reaches the role that the answer is about. */
export const ruleOf = (
  answer: AccessAnswer,
  { change, relation }: Pick<GuardedChange, "change" | "relation">,
): ChangeRule =>
  rowKinds.has(change.kind)
    ? ruleFor(answer, change.kind as RowKind, relation)
    : { tag: "refused", error: unauthorized };

export interface Presentation {
  readonly answer: AccessAnswer;
  readonly rule: ChangeRule;
  /** Those who alone get it; `undefined`: the group. */
  readonly arrivals: readonly Listener[] | undefined;
}

/** Emits the change as far as the rule lets it through. */
export function present(guarded: GuardedChange, { answer, rule, arrivals }: Presentation): void {
  const { change, fanOut, relation } = guarded;
  const emit: Emit =
    arrivals === undefined ? guarded.emit : (group, frame) => [...arrivals].forEach((one) => one.take(group, frame));
  const inOrder = (names: ReadonlySet<string> | undefined): readonly string[] | undefined =>
    names && relation.columns.map(({ name }) => name).filter((name) => names.has(name));
  const cut: CutRule =
    rule.tag === "refused"
      ? rule
      : { tag: "delivered", columns: inOrder(rule.columns), oldColumns: inOrder(rule.oldColumns) };
  for (const [view, ids] of guarded.wants) {
    if (view.isHiding === true || (view.isRefusal === true && rule.tag !== "refused")) continue;
    const open = rule.tag === "refused" ? refusedOf(view, ids) : openTo(answer, guarded, ids);
    if (open.length === 0) continue;
    if (view.isLeaving !== true) fanOut.ruled({ change, view, ids: open }, cut, emit);
    else if (rule.tag === "delivered") fanOut.left({ change, view, ids: open }, emit);
  }
}

/**
 * The row cannot be seen: those who keep rows let it go, if they have it; nobody else learns of it. All bindings of its table
 * are named, so that what their filters say of the row is not told.
 */
export function presentHidden(guarded: GuardedChange, arrivals: Presentation["arrivals"]): void {
  const { group, change, fanOut, wants } = guarded;
  if (group.holdsRows !== "collection" || change.kind !== "update") return;
  const emit: Emit =
    arrivals === undefined ? guarded.emit : (to, frame) => [...arrivals].forEach((one) => one.take(to, frame));
  const told = new Set(wants.flatMap(([, ids]) => ids));
  const ids = [...group.keys.keys()].filter((id) => told.has(id));
  fanOut.hidden({ change, group, ids }, emit);
}

/**
 * Where it is PostgreSQL that does not let the role ask, nobody with a filter is told: in general it was asked only because a
 * filter matched. Whether rights were known when the change came does not matter.
 */
export const withoutRefusals = (guarded: GuardedChange): GuardedChange => ({
  ...guarded,
  wants: guarded.wants.filter(([{ isRefusal }]) => isRefusal !== true),
});

/** Those with a filter are told by a view of their own, whether or not it matches (refusals.ts). */
const refusedOf = ({ group, isRefusal }: View, ids: readonly number[]): readonly number[] =>
  isRefusal === true ? ids : ids.filter((id) => !group.filtered.has(id));

/**
 * The ids whose filters look at nothing that may not be read: to be told would tell that the filter matched. A subscription
 * with such a filter is refused; here are those whose role lost the column since.
 */
function openTo(answer: AccessAnswer, { group }: GuardedChange, ids: readonly number[]): readonly number[] {
  if (group.filtered.size === 0) return ids;
  const isReadable = readableBy(answer);
  return ids.filter((id) => group.filtered.get(id)?.every(isReadable) ?? true);
}

/** Whether the role may read a column, or the one that a path into JSON begins with. */
export function readableBy(answer: AccessAnswer): (column: string) => boolean {
  const selectable = answer.tag === "access" ? answer.access.selectable : new Set<string>();
  return (column) => selectable.has(column) || selectable.has(column.split("->")[0]?.trim() ?? "");
}

/** The primary key as JSON, cut out of the row: once, however many ask about it. */
export function keyOf(change: LoggedChange, { columns }: Relation, answer: AccessAnswer): string {
  const { record } = change;
  if (record === undefined || answer.tag !== "access") return "{}";
  const { primaryKey } = answer.access.facts;
  const known = keys.get(change);
  if (known?.primaryKey === primaryKey) return known.key;
  const shape = shapeOf(columns);
  const indexes = primaryKey.flatMap(({ name }) => shape.byName.get(name)?.index ?? []);
  const key = new RecordReader(record, shape).project(indexes).toString();
  keys.set(change, { primaryKey, key });
  return key;
}

const keys = new WeakMap<LoggedChange, { readonly primaryKey: readonly KeyColumn[]; readonly key: string }>();

/** The role may not ask. */
export const isDenial = (error: unknown): boolean =>
  error instanceof AccessDeniedError || error instanceof RoleUnknownError || error instanceof RoleNotGrantedError;
