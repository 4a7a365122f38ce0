import type { ChangeKind } from "@walcast/change-log";
import type { Condition } from "./filter.ts";

/** One binding of one group: which changes of which tables it wants. */
export interface Subscription<G> {
  readonly group: G;
  /** What matching frames name it by. */
  readonly id: number;
  /** A name, or `*` for all. */
  readonly schema: string;
  readonly table: string;
  readonly kinds: ReadonlySet<ChangeKind>;
  /** Conditions that must all hold; needs an exact schema and table. */
  readonly filter: readonly Condition[];
}
