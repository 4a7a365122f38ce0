import type { LoggedChange } from "@walcast/change-log";
import type { Relation } from "@walcast/model";
import { byView, type Groups, type View } from "./group.ts";

/**
 * Adds those whose filter the row may have passed before, and does not pass now: they keep a row that they have to let go.
 *
 * With REPLICA IDENTITY FULL, and for filters on the identity's columns, the log has what the row was, and only those are
 * found who had it. Otherwise nobody can say, and all are told who filter by anything else: a frame for each of them, for
 * each change that they do not want. They know the rows that they have.
 *
 * Of a row that turns out to be hidden all are told, whatever they filter by: who is told and who is not would tell what is
 * in it.
 */
export function addLeaving(
  groups: Groups,
  { relation, change }: { readonly relation: Relation; readonly change: LoggedChange },
  matches: Map<View, number[]>,
): void {
  const { byFilter, all, hiding } = groups.leaving;
  if ((change.kind !== "update" && change.kind !== "delete") || !all.concerns(relation)) return;
  const before = byView(byFilter.match(relation, { ...change, kind: "delete" }));
  const leaving =
    relation.replicaIdentity === "f"
      ? before
      : withUnknown(before, { relation, all: byView(all.match(relation, change)) });
  for (const [view, ids] of leaving) {
    const stay = new Set([...view.group.views.values()].flatMap((one) => matches.get(one) ?? []));
    const left = ids.filter((id) => !stay.has(id));
    if (left.length > 0) matches.set(view, left);
  }
  for (const [view, ids] of byView(hiding.match(relation, change))) matches.set(view, ids);
}

/** Those for whom the old identity is not enough to tell come along. */
function withUnknown(
  before: ReadonlyMap<View, number[]>,
  { relation, all }: { readonly relation: Relation; readonly all: ReadonlyMap<View, number[]> },
): ReadonlyMap<View, number[]> {
  const identity = new Set(relation.columns.filter(({ isKey }) => isKey).map(({ name }) => name));
  const found = new Map<View, number[]>();
  for (const [view, ids] of all) {
    const known = new Set(before.get(view));
    const isUnknown = (id: number): boolean =>
      view.group.filtered.get(id)?.some((column) => !identity.has(column)) ?? false;
    const kept = ids.filter((id) => known.has(id) || isUnknown(id));
    if (kept.length > 0) found.set(view, kept);
  }
  return found;
}
