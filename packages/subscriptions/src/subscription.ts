import type { ChangeKind } from "@walcast/change-log";
import type { Filter } from "./filter.ts";

/** One binding of one group: which changes of which tables it wants. */
export interface Subscription<G> {
  readonly group: G;
  /** What matching frames name it by. */
  readonly id: number;
  /** A name, a pattern with `%`, or `*` for all. */
  readonly schema: string;
  readonly table: string;
  readonly kinds: ReadonlySet<ChangeKind>;
  /** What must hold of the row. */
  readonly filter: Filter;
}
