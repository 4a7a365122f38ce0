import type { LoggedChange } from "@walcast/change-log";
import type { Relation } from "@walcast/model";
import { compileFilter, type Test, type Truth } from "./compiled-filter.ts";
import { FilterTypeError } from "./filter-errors.ts";
import type { Condition, Filter, Term } from "./filter.ts";
import { compileName } from "./name-pattern.ts";
import { RecordReader } from "./record-reader.ts";
import type { Subscription } from "./subscription.ts";
import { shapeOf, type TableShape } from "./table-shape.ts";

/** One term of a filter and what it says of a row. */
export interface ExplainedTerm {
  /** As a client writes it. */
  readonly text: string;
  /** `undefined`: unknown, as for SQL; of null, and of a value that the record does not have. */
  readonly holds: Truth;
  /** Of a group, its own terms; of a condition, none. */
  readonly terms: readonly ExplainedTerm[];
}

/** Why a subscription wants a change, or does not. `matched` is what `SubscriptionIndex` finds, and nothing else is. */
export type Verdict =
  | { readonly tag: "matched" }
  /** It is about other tables. */
  | { readonly tag: "table" }
  /** It is about other kinds of changes. */
  | { readonly tag: "event" }
  /** `terms`: those of the filter that do not hold, at least one. */
  | { readonly tag: "filter"; readonly terms: readonly ExplainedTerm[] }
  /** It has a filter, and the change has no row to look at: a truncate. */
  | { readonly tag: "rowless" }
  /** The filter does not fit the table's columns as they are in this change. */
  | { readonly tag: "unfit"; readonly message: string };

/** What is asked of a subscription. */
export type Explained = Omit<Subscription<unknown>, "group">;

/** Answers about one subscription. */
export interface Explainer {
  readonly concerns: (relation: Relation) => boolean;
  readonly explain: (relation: Relation, change: LoggedChange) => Verdict;
}

/** Says of changes whether the subscription wants them, and why. What it works out for a table's columns it keeps. */
export function explainer(subscription: Explained): Explainer {
  const { schema, table, kinds, filter } = subscription;
  const [isSchema, isTable] = [compileName(schema), compileName(table)];
  const compiled = new WeakMap<Relation["columns"], readonly CompiledNode[] | FilterTypeError>();
  const nodesFor = (columns: Relation["columns"]): readonly CompiledNode[] | FilterTypeError => {
    const known = compiled.get(columns) ?? tryCompile(filter, shapeOf(columns));
    compiled.set(columns, known);
    return known;
  };
  const concerns = (relation: Relation): boolean => isSchema(relation.schema) && isTable(relation.table);
  const explain = (relation: Relation, change: LoggedChange): Verdict => {
    if (!concerns(relation)) return { tag: "table" };
    if (!kinds.has(change.kind)) return { tag: "event" };
    if (filter.length === 0) return { tag: "matched" };
    const row = change.kind === "delete" ? change.oldRecord : change.record;
    if (row === undefined) return { tag: "rowless" };
    const nodes = nodesFor(relation.columns);
    if (nodes instanceof FilterTypeError) return { tag: "unfit", message: nodes.message };
    const record = new RecordReader(row, shapeOf(relation.columns));
    const terms = nodes.map((node) => explainNode(node, record)).filter(({ holds }) => holds !== true);
    return terms.length === 0 ? { tag: "matched" } : { tag: "filter", terms };
  };
  return { concerns, explain };
}

/** A term with the test of it alone. */
interface CompiledNode {
  readonly text: string;
  readonly test: Test;
  readonly nodes: readonly CompiledNode[];
}

function tryCompile(filter: Filter, shape: TableShape): readonly CompiledNode[] | FilterTypeError {
  try {
    return filter.map((term) => compileNode(term, shape, topText));
  } catch (error) {
    if (error instanceof FilterTypeError) return error;
    throw error;
  }
}

function compileNode(term: Term, shape: TableShape, textOf: (term: Term) => string): CompiledNode {
  const [compiled] = compileFilter([term], shape);
  if (compiled === undefined) throw new Error("a term compiles to a term");
  const nodes = term.tag === "condition" ? [] : term.terms.map((inner) => compileNode(inner, shape, innerText));
  return { text: textOf(term), test: compiled.test, nodes };
}

const explainNode = ({ text, test, nodes }: CompiledNode, record: RecordReader): ExplainedTerm => ({
  text,
  holds: test(record),
  terms: nodes.map((node) => explainNode(node, record)),
});

const topText = (term: Term): string =>
  term.tag === "condition"
    ? `${term.column}=${testText(term)}`
    : `${term.isNegated ? "not." : ""}${term.tag}=${term.text}`;

const innerText = (term: Term): string =>
  term.tag === "condition"
    ? `${term.column.includes(".") ? JSON.stringify(term.column) : term.column}.${testText(term)}`
    : `${term.isNegated ? "not." : ""}${term.tag}${term.text}`;

function testText({ operator, isNegated, value }: Condition): string {
  const written = operator === "in" ? `(${value.slice(1, -1)})` : /[,()"]/u.test(value) ? JSON.stringify(value) : value;
  return `${isNegated ? "not." : ""}${operator}.${written}`;
}
