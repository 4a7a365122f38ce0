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
  type RowKind,
} from "@walcast/row-security";
import { RecordReader, shapeOf } from "@walcast/subscriptions";
import type { CutRule, Emit, FanOut, Match } from "./fan-out.ts";
import type { Group, Listener, View } from "./group.ts";

/** A change on its way to groups whose rights have to be looked at: what is the same for all of them is found out once. */
export class GuardedChange {
  readonly change: LoggedChange;
  readonly relation: Relation;
  readonly fanOut: FanOut;
  readonly emit: Emit;
  /** By the last answer, and key: those who ask are mostly of one role. */
  #ruling: Ruling | undefined;
  #key: { readonly answer: AccessAnswer; readonly json: string } | undefined;

  constructor({ change, relation, fanOut, emit }: Pick<GuardedChange, "change" | "relation" | "fanOut" | "emit">) {
    this.change = change;
    this.relation = relation;
    this.fanOut = fanOut;
    this.emit = emit;
  }

  /** How it reaches the role that the answer is about. */
  ruling(answer: AccessAnswer): Ruling {
    if (this.#ruling?.answer !== answer) this.#ruling = new Ruling(answer, ruleOf(answer, this), this.relation);
    return this.#ruling;
  }

  /** {@link keyJsonOf} it. */
  keyJson(answer: AccessAnswer): string {
    if (this.#key?.answer !== answer) this.#key = { answer, json: keyJsonOf(this, answer) };
    return this.#key.json;
  }
}

/** The primary key of a row as JSON, cut out of the row. */
export function keyJsonOf(
  { change: { record }, relation }: Pick<GuardedChange, "change" | "relation">,
  answer: AccessAnswer,
): string {
  if (record === undefined || answer.tag !== "access") return "{}";
  const shape = shapeOf(relation.columns);
  const indexes = answer.access.facts.primaryKey.flatMap(({ name }) => shape.byName.get(name)?.index ?? []);
  return new RecordReader(record, shape).project(indexes).toString();
}

/** A change and one of the groups that it goes to. */
export interface GuardedMatch {
  readonly group: Group;
  /** Its views that want the change, with the ids of their bindings that do. */
  readonly wants: readonly Match[];
  readonly guarded: GuardedChange;
}

/** Messages and marks concern no table: nobody subscribes to them. */
const rowKinds = new Set<string>(["insert", "update", "delete", "truncate"]);

/** The rule for a change and the role that the answer is about. */
export const ruleOf = (
  answer: AccessAnswer,
  { change, relation }: Pick<GuardedChange, "change" | "relation">,
): ChangeRule =>
  rowKinds.has(change.kind)
    ? ruleFor(answer, change.kind as RowKind, relation)
    : { tag: "refused", error: unauthorized };

/** What a rule makes of a change. */
export class Ruling {
  readonly tag = "ruling";
  readonly answer: AccessAnswer;
  readonly rule: ChangeRule;
  readonly cut: CutRule;
  /** Nobody has to be asked about the row. */
  readonly isForAllRows: boolean;

  constructor(answer: AccessAnswer, rule: ChangeRule, { columns }: Relation) {
    const inOrder = (names: ReadonlySet<string> | undefined): readonly string[] | undefined =>
      names && columns.map(({ name }) => name).filter((name) => names.has(name));
    this.answer = answer;
    this.rule = rule;
    this.isForAllRows = rule.tag === "refused" || rule.rows === "all";
    this.cut =
      rule.tag === "refused"
        ? rule
        : { tag: "delivered", columns: inOrder(rule.columns), oldColumns: inOrder(rule.oldColumns) };
  }
}

/** Those who alone get it; `undefined`: the group. */
type Arrivals = readonly Listener[] | undefined;

const emitTo = ({ emit }: GuardedChange, arrivals: Arrivals): Emit =>
  arrivals === undefined ? emit : (group, frame) => [...arrivals].forEach((one) => one.take(group, frame));

/** Emits the change as far as the rule lets it through. */
export function present({ group, wants, guarded }: GuardedMatch, ruling: Ruling, arrivals: Arrivals): void {
  const { answer, rule, cut } = ruling;
  const { fanOut } = guarded;
  const emit = emitTo(guarded, arrivals);
  for (const { view, ids } of wants) {
    if (view.isHiding === true || (view.isRefusal === true && rule.tag !== "refused")) continue;
    const open = rule.tag === "refused" ? refusedOf(view, ids) : openTo(answer, group, ids);
    if (open.length === 0) continue;
    if (view.isLeaving !== true) fanOut.ruled({ view, ids: open }, cut, emit);
    else if (rule.tag === "delivered") fanOut.left({ view, ids: open }, emit);
  }
}

/**
 * It is PostgreSQL that does not let the role ask. Nobody with a filter is told: in general it was asked only because a filter
 * matched. Whether rights were known when the change came does not matter.
 */
export function presentDenied(match: GuardedMatch, answer: AccessAnswer, arrivals: Arrivals): void {
  const wants = match.wants.filter(({ view }) => view.isRefusal !== true);
  const ruling = new Ruling(answer, { tag: "refused", error: unauthorized }, match.guarded.relation);
  present({ ...match, wants }, ruling, arrivals);
}

/**
 * The row cannot be seen: those who keep rows let it go, if they have it; nobody else learns of it. All bindings of its table
 * are named, so that what their filters say of the row is not told.
 */
export function presentHidden({ group, wants, guarded }: GuardedMatch, arrivals: Arrivals): void {
  if (group.holdsRows !== "collection" || guarded.change.kind !== "update") return;
  const told = new Set(wants.flatMap(({ ids }) => ids));
  const ids = [...group.keys.keys()].filter((id) => told.has(id));
  guarded.fanOut.hidden({ group, ids }, emitTo(guarded, arrivals));
}

/** Those with a filter are told by a view of their own, whether or not it matches (refusals.ts). */
const refusedOf = ({ group, isRefusal }: View, ids: readonly number[]): readonly number[] =>
  isRefusal === true ? ids : ids.filter((id) => !group.filtered.has(id));

/**
 * The ids whose filters look at nothing that may not be read: to be told would tell that the filter matched. A subscription
 * with such a filter is refused; here are those whose role lost the column since.
 */
function openTo(answer: AccessAnswer, group: Group, ids: readonly number[]): readonly number[] {
  if (group.filtered.size === 0) return ids;
  const isReadable = readableBy(answer);
  return ids.filter((id) => group.filtered.get(id)?.every(isReadable) ?? true);
}

/** Whether the role may read a column, or the one that a path into JSON begins with. */
export function readableBy(answer: AccessAnswer): (column: string) => boolean {
  const selectable = answer.tag === "access" ? answer.access.selectable : new Set<string>();
  return (column) => selectable.has(column) || selectable.has(column.split("->")[0]?.trim() ?? "");
}

/** The role may not ask. */
export const isDenial = (error: unknown): boolean =>
  error instanceof AccessDeniedError || error instanceof RoleUnknownError || error instanceof RoleNotGrantedError;
