import type { EnumOrders } from "./enum-orders.ts";
import { splitAtCommas, unquote } from "./filter-text.ts";

const operators = [
  "eq",
  "neq",
  "lt",
  "lte",
  "gt",
  "gte",
  "in",
  "like",
  "ilike",
  "is",
  "match",
  "imatch",
  "isdistinct",
] as const;

/** How a column's value is compared (protocol.md 4.8). */
export type Operator = (typeof operators)[number];

/** One comparison. */
export interface Condition {
  readonly tag: "condition";
  /** A column's name, or a path into a JSON column as `data->a->>b`: which of them, the table's columns tell. */
  readonly column: string;
  readonly operator: Operator;
  readonly isNegated: boolean;
  /** Unquoted; for `in` PostgreSQL's array literal `{…}`. */
  readonly value: string;
  /** Of the enums that it orders by. */
  readonly enumOrders?: EnumOrders;
  /** What the answer is where it would be unknown. */
  readonly unknownAs?: boolean;
}

/** Terms of which all, or any, must hold. */
export interface Junction {
  readonly tag: "and" | "or";
  readonly isNegated: boolean;
  readonly terms: readonly Term[];
  /** As the client wrote it, parentheses included. */
  readonly text: string;
}

export type Term = Condition | Junction;

/** What must hold of a row: all of its terms. */
export type Filter = readonly Term[];

/** The filter's text is not in the grammar; the message is what clients are told (protocol.md 4.7). */
export class FilterSyntaxError extends Error {
  readonly code = "FILTER_SYNTAX";
}

/** A filter costs every change of its table: these bound what one of them can ask for. */
const limits = { depth: 8, conditions: 100 };

const operatorNames: readonly string[] = operators;
const isOperator = (text: string): text is Operator => operatorNames.includes(text);

const failure = (detail: string): FilterSyntaxError =>
  new FilterSyntaxError(`Error parsing \`filter\` params: ${detail}`);
/** The pieces of the text in question, as the peer prints such a list. */
const pieces = (...texts: string[]): FilterSyntaxError =>
  failure(`[${texts.map((text) => JSON.stringify(text)).join(", ")}]`);

/**
 * Reads a filter: terms separated by commas, all of which must hold (protocol.md 4.8). An empty text is no filter.
 *
 * Beyond the peer's grammar a term may be a group, in which older servers see an unknown operator:
 * `or=(a.eq.1,b.gt.2,and(c.eq.3,not.d.is.null))`, `and=(…)`, `not.or=(…)`. Throws FilterSyntaxError.
 */
export function parseFilter(text: string): Filter {
  if (text.trim() === "") return [];
  const filter = segmentsOf(text, { opensAtStart: false }).map((segment) => parseSegment(segment));
  if (countConditions(filter) > limits.conditions)
    throw failure(`too many conditions in a filter. Maximum ${limits.conditions}`);
  return filter;
}

function segmentsOf(text: string, splitting: { readonly opensAtStart: boolean }): string[] {
  return splitAtCommas(text, splitting).map((segment) => {
    if (segment.trim() === "") throw failure("filter must not contain empty segments (check for extra commas)");
    return segment.trim();
  });
}

function parseSegment(segment: string): Term {
  const group = /^(not\.)?(and|or)=(\(.*\))$/su.exec(segment);
  if (group !== null) return parseJunction(group, 1);
  const equals = segment.indexOf("=");
  if (equals === -1) throw pieces(segment);
  const column = segment.slice(0, equals);
  const rest = segment.slice(equals + 1);
  const test = parseTest(rest);
  if (column === "" || test === undefined) throw pieces(column, withoutNot(rest));
  return { tag: "condition", column, ...test };
}

const withoutNot = (text: string): string => (text.startsWith("not.") ? text.slice(4) : text);

/** `[not.]operator.value`; `undefined` when it is none. */
function parseTest(text: string): Pick<Condition, "operator" | "isNegated" | "value"> | undefined {
  const rest = withoutNot(text);
  const dot = rest.indexOf(".");
  const operator = rest.slice(0, dot);
  if (dot === -1 || !isOperator(operator)) return undefined;
  const value = rest.slice(dot + 1);
  const isNegated = rest.length < text.length;
  return { operator, isNegated, value: operator === "in" ? arrayLiteral(value) : unquote(value) };
}

function arrayLiteral(value: string): string {
  const trimmed = value.trim();
  if (!trimmed.startsWith("(") || !trimmed.endsWith(")"))
    throw failure("`in` filter value must be wrapped by parentheses");
  return `{${trimmed.slice(1, -1)}}`;
}

function parseJunction(match: RegExpExecArray, depth: number): Junction {
  const [, not, tag, text = ""] = match;
  if (depth > limits.depth) throw failure(`groups are nested too deeply. Maximum ${limits.depth}`);
  const terms = segmentsOf(text.slice(1, -1), { opensAtStart: true }).map((element) => parseElement(element, depth));
  return { tag: tag === "or" ? "or" : "and", isNegated: not !== undefined, terms, text };
}

/** `and(…)`, `or(…)`, or `column.[not.]operator.value`, each also after `not.`. */
function parseElement(element: string, depth: number): Term {
  const group = /^(not\.)?(and|or)(\(.*\))$/su.exec(element);
  if (group !== null) return parseJunction(group, depth + 1);
  const plain = parseElementCondition(element);
  if (plain !== undefined) return plain;
  const negated = element.startsWith("not.") ? parseElementCondition(element.slice(4)) : undefined;
  if (negated === undefined) throw pieces(element);
  return { ...negated, isNegated: !negated.isNegated };
}

/** A column whose name has a dot stands in double quotes here. */
function parseElementCondition(element: string): Condition | undefined {
  const match = /^("(?:[^"\\]|\\.)+"|[^".][^.]*)\.(.*)$/su.exec(element);
  const [, column = "", rest = ""] = match ?? [];
  const test = parseTest(rest);
  return column === "" || test === undefined ? undefined : { tag: "condition", column: unquote(column), ...test };
}

const countConditions = (terms: Filter): number =>
  terms.reduce((sum, term) => sum + (term.tag === "condition" ? 1 : countConditions(term.terms)), 0);

/** The columns, or paths into JSON columns, that a filter looks at, as it writes them; each once. */
export function columnsOf(filter: Filter): string[] {
  const names = filter.flatMap((term) => (term.tag === "condition" ? [term.column] : columnsOf(term.terms)));
  return [...new Set(names)];
}
