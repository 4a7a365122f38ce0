import type { LoggedChange } from "@walcast/change-log";
import type { Relation } from "@walcast/model";
import { byView, type Groups, type View } from "./group.ts";
import type { Readers } from "./readers.ts";

/** A change, and who tells what its roles may do. */
interface Refusable {
  readonly relation: Relation;
  readonly change: LoggedChange;
  readonly readers: Pick<Readers, "mayRefuse">;
}

/**
 * Adds those whose role is refused the change, as to a table without a primary key (protocol.md 4.6), whatever they filter by:
 * who is told and who is not would tell what is in a row that nobody looked at the policies for.
 */
export function addRefused(
  groups: Groups,
  { relation, change, readers }: Refusable,
  matches: Map<View, number[]>,
): void {
  for (const [role, index] of groups.refusals) {
    if (!index.concerns(relation) || !readers.mayRefuse(role, relation, change)) continue;
    for (const [view, ids] of byView(index.match(relation, change))) matches.set(view, ids);
  }
}
