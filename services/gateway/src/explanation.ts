import type { LoggedChange } from "@walcast/change-log";
import { formatPosition, unreachable, type Relation } from "@walcast/model";
import { columnsOf, type ExplainedTerm, type Explainer, type Verdict } from "@walcast/subscriptions";
import type { Binding } from "./binding.ts";
import { eventNames } from "./group.ts";

/** A binding and what answers for it. */
export interface ExplainedBinding {
  readonly binding: Binding;
  readonly explainer: Explainer;
}

/** How much of a change a token may see. */
export type Sight =
  /** Rights are not asked for. */
  | { readonly tag: "all" }
  | {
      readonly tag: "readable";
      readonly isReadable: (column: string) => boolean;
      /** Of its row only the key is shown: why a filter does not match is not said, as it would tell of the rest. */
      readonly isKeyOnly: boolean;
    }
  /** Row security hides the row: that there was a change is all there is to say. */
  | { readonly tag: "hidden" }
  /** It is delivered without any value, with this error. */
  | { readonly tag: "refused"; readonly error: string }
  /** Policies could not be asked. */
  | { readonly tag: "unknown"; readonly reason: string };

/** What a binding made of a change, as it is on the wire. */
export type BindingReport = { readonly id: number } & (
  | { readonly verdict: "matched" | "table" | "rowless" | "hidden" }
  | { readonly verdict: "event"; readonly wants: string }
  /** `terms`: those that do not hold; none where telling would show values that may not be read. */
  | { readonly verdict: "filter"; readonly terms: readonly TermReport[] }
  | { readonly verdict: "column"; readonly columns: readonly string[] }
  | { readonly verdict: "unfit" | "refused" | "unknown"; readonly message: string }
);

export interface TermReport {
  readonly text: string;
  /** null: unknown. */
  readonly holds: boolean | null;
  readonly terms?: readonly TermReport[];
}

/** The payload of an `explain` frame about a change. */
export interface Explanation {
  readonly position: string;
  readonly schema: string;
  readonly table: string;
  /** INSERT, UPDATE, DELETE, TRUNCATE. Not `type`: what has both that and a position is taken for a change itself. */
  readonly kind: string;
  /** null where no more may be known than that there was a change. */
  readonly commit_timestamp: string | null;
  readonly bindings: readonly BindingReport[];
}

/** What one channel is told of a change. Nothing of it depends on values that `sight` does not show. */
export function explanationOf(
  { change, relation }: { readonly change: LoggedChange; readonly relation: Relation },
  sight: Sight,
  bindings: readonly ExplainedBinding[],
): Explanation {
  const isShown = sight.tag === "all" || sight.tag === "readable";
  return {
    position: formatPosition(change.position),
    schema: relation.schema,
    table: relation.table,
    kind: eventNames[change.kind],
    commit_timestamp: isShown ? new Date(Math.floor(change.committedAtMicros / 1000)).toISOString() : null,
    bindings: bindings.map((one) => reportOf(one, { change, relation }, sight)),
  };
}

function reportOf(
  { binding, explainer }: ExplainedBinding,
  { change, relation }: { readonly change: LoggedChange; readonly relation: Relation },
  sight: Sight,
): BindingReport {
  const { id, kinds, event, filter } = binding;
  if (!explainer.concerns(relation)) return { id, verdict: "table" };
  if (!kinds.has(change.kind)) return { id, verdict: "event", wants: event };
  switch (sight.tag) {
    case "hidden":
      return { id, verdict: "hidden" };
    case "refused":
      return { id, verdict: "refused", message: sight.error };
    case "unknown":
      return { id, verdict: "unknown", message: sight.reason };
    case "readable": {
      const columns = columnsOf(filter).filter((column) => !sight.isReadable(column));
      if (columns.length > 0) return { id, verdict: "column", columns };
      return asReport(id, explainer.explain(relation, change), { tellsTerms: !sight.isKeyOnly });
    }
    case "all":
      return asReport(id, explainer.explain(relation, change), { tellsTerms: true });
    default:
      return unreachable(sight);
  }
}

function asReport(id: number, verdict: Verdict, { tellsTerms }: { readonly tellsTerms: boolean }): BindingReport {
  switch (verdict.tag) {
    case "matched":
    case "table":
    case "rowless":
      return { id, verdict: verdict.tag };
    case "event":
      return { id, verdict: "event", wants: "*" };
    case "filter":
      return { id, verdict: "filter", terms: tellsTerms ? verdict.terms.map(termReport) : [] };
    case "unfit":
      return { id, verdict: "unfit", message: verdict.message };
    default:
      return unreachable(verdict);
  }
}

const termReport = ({ text, holds, terms }: ExplainedTerm): TermReport => ({
  text,
  holds: holds ?? null,
  ...(terms.length === 0 ? {} : { terms: terms.map(termReport) }),
});
