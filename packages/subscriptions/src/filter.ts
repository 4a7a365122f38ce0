/** How a column's value is compared (protocol.md 4.8). */
export type Operator = "eq" | "neq" | "lt" | "lte" | "gt" | "gte" | "in";

/** One condition; a filter is all of its conditions. */
export interface Condition {
  readonly column: string;
  readonly operator: Operator;
  readonly isNegated: boolean;
  /** One value; for `in` its elements. */
  readonly values: readonly string[];
}

/** The filter's text is not in the grammar; the message is what clients are told (protocol.md 4.7). */
export class FilterSyntaxError extends Error {
  readonly code = "FILTER_SYNTAX";
}

const operators: readonly string[] = ["eq", "neq", "lt", "lte", "gt", "gte", "in"] satisfies Operator[];
const isOperator = (text: string): text is Operator => operators.includes(text);

const maxInValues = 100;

const failure = (detail: string): FilterSyntaxError =>
  new FilterSyntaxError(`Error parsing \`filter\` params: ${detail}`);
/** The pieces of the text in question, as the peer prints such a list. */
const pieces = (...texts: string[]): FilterSyntaxError =>
  failure(`[${texts.map((text) => JSON.stringify(text)).join(", ")}]`);

/**
 * Reads a filter: conditions separated by commas, all of which must hold (protocol.md 4.8). An empty text is no filter.
 * Throws FilterSyntaxError.
 */
export function parseFilter(text: string): Condition[] {
  if (text.trim() === "") return [];
  return splitOutside(text).map((segment) => {
    if (segment.trim() === "") throw failure("filter must not contain empty segments (check for extra commas)");
    return parseCondition(segment.trim());
  });
}

function parseCondition(segment: string): Condition {
  const equals = segment.indexOf("=");
  if (equals === -1) throw pieces(segment);
  const column = segment.slice(0, equals);
  const isNegated = segment.startsWith("not.", equals + 1);
  const rest = segment.slice(equals + 1 + (isNegated ? 4 : 0));
  const dot = rest.indexOf(".");
  if (dot === -1) throw pieces(column, rest);
  const operator = rest.slice(0, dot);
  const value = rest.slice(dot + 1);
  if (column === "" || !isOperator(operator)) throw pieces(column, rest);
  if (operator !== "in") return { column, operator, isNegated, values: [unquote(value)] };
  return { column, operator, isNegated, values: parseList(value) };
}

function parseList(value: string): string[] {
  const trimmed = value.trim();
  if (!trimmed.startsWith("(") || !trimmed.endsWith(")"))
    throw failure("`in` filter value must be wrapped by parentheses");
  const inner = trimmed.slice(1, -1);
  if (inner.trim() === "") return [];
  const values = splitOutside(inner).map((element) => unquote(element.trim()));
  if (values.length > maxInValues) throw failure(`too many values for \`in\` filter. Maximum ${maxInValues}`);
  return values;
}

/** Splits at commas outside of parentheses and quotes. A quote opens only at the start or after `.`, `(` or `,`. */
function splitOutside(text: string): string[] {
  const parts: string[] = [];
  let start = 0;
  let depth = 0;
  let isQuoted = false;
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (isQuoted) {
      if (char === "\\") i++;
      else if (char === '"') isQuoted = false;
    } else if (char === '"' && (i === 0 || ".(,".includes(text[i - 1] ?? ""))) isQuoted = true;
    else if (char === "(") depth++;
    else if (char === ")") depth = Math.max(0, depth - 1);
    else if (char === "," && depth === 0) {
      parts.push(text.slice(start, i));
      start = i + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}

/** A value wholly in double quotes loses them, and `\x` becomes `x`. */
const unquote = (value: string): string =>
  value.length >= 2 && value.startsWith('"') && value.endsWith('"')
    ? value.slice(1, -1).replaceAll(/\\(.)/gsu, "$1")
    : value;
