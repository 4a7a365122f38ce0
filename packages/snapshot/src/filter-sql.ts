import type { Column } from "@walcast/model";
import type { Condition, Filter, Term } from "@walcast/subscriptions";
import { escapeIdentifier } from "pg";

/** A condition for PostgreSQL, with its parameters. */
export interface FilterSql {
  readonly text: string;
  readonly values: readonly string[];
  /** It says all that the filter says: rows that it lets through need no second look. */
  readonly isWhole: boolean;
}

/**
 * Types whose values PostgreSQL compares as filters do; `floating`: but for NaN, which records hold as null. Not money: how
 * its values are read depends on the database's locale.
 */
const exactTypes = new Set("int2 int4 int8 bool uuid date timestamp timestamptz inet cidr macaddr macaddr8".split(" "));
const textTypes = new Set(["text", "varchar"]);
const floatingTypes = new Set(["numeric"]);
const symbols = { eq: "=", neq: "<>", lt: "<", lte: "<=", gt: ">", gte: ">=" } as const;
/** User types may share a built-in type's name; only OIDs below this (FirstNormalObjectId) are PostgreSQL's own. */
const firstUserOid = 16_384;

/**
 * As much of a filter as PostgreSQL can be trusted to decide in the same way: every row that the filter matches passes, and
 * often few others, which the filter itself then keeps back. A term is left out rather than guessed.
 *
 * A term that is translated is true or false in PostgreSQL wherever the filter says so; where the filter says "unknown",
 * PostgreSQL may say anything. So junctions and negations of such terms can be translated, too.
 */
export function filterSql(filter: Filter, columns: readonly Column[]): FilterSql {
  const values: string[] = [];
  const byName = new Map(columns.map((column) => [column.name, column]));
  const scope = { values, byName };
  const terms = filter.map((term) => translate(term, scope));
  const known = terms.filter((term) => term !== undefined);
  return {
    text: known.length === 0 ? "true" : known.map(({ text }) => `(${text})`).join(" AND "),
    values,
    isWhole: known.length === terms.length && known.every(({ isExact }) => isExact),
  };
}

interface Translated {
  readonly text: string;
  /** It also says "unknown" where the filter does. */
  readonly isExact: boolean;
}

interface Scope {
  readonly values: string[];
  readonly byName: ReadonlyMap<string, Column>;
}

function translate(term: Term, scope: Scope): Translated | undefined {
  if (term.tag === "condition") return translateCondition(term, scope);
  const before = scope.values.length;
  const parts = term.terms.map((one) => translate(one, scope));
  const known = parts.filter((part) => part !== undefined);
  if (known.length < parts.length) {
    scope.values.length = before; // nobody refers to them
    return undefined;
  }
  const text = known.map((part) => `(${part.text})`).join(term.tag === "and" ? " AND " : " OR ");
  return { text: term.isNegated ? `NOT (${text})` : text, isExact: known.every(({ isExact }) => isExact) };
}

function translateCondition(condition: Condition, { values, byName }: Scope): Translated | undefined {
  const column = byName.get(condition.column);
  const type = column === undefined ? undefined : builtInType(column);
  if (column === undefined || type === undefined) return undefined;
  const isText = textTypes.has(type);
  const isFloating = floatingTypes.has(type);
  if (!isText && !isFloating && !exactTypes.has(type)) return undefined;
  const operand = `t.${escapeIdentifier(column.name)}`;
  const parameter = (cast: string): string => `$${values.push(condition.value)}::pg_catalog.${cast}`;
  const text = comparison(condition, { operand, type, isText, isFloating, parameter });
  if (text === undefined) return undefined;
  return { text: condition.isNegated ? `NOT (${text})` : text, isExact: !isFloating };
}

interface Comparison {
  readonly operand: string;
  readonly type: string;
  readonly isText: boolean;
  readonly isFloating: boolean;
  readonly parameter: (cast: string) => string;
}

function comparison(
  { operator, value }: Condition,
  { operand, type, isText, isFloating, parameter }: Comparison,
): string | undefined {
  switch (operator) {
    case "eq":
    case "neq":
      return `${operand} ${symbols[operator]} ${parameter(type)}`;
    case "lt":
    case "lte":
    case "gt":
    case "gte":
      return `${operand}${isText ? ' COLLATE "C"' : ""} ${symbols[operator]} ${parameter(type)}`;
    case "in":
      return `${operand} = ANY (${parameter(`_${type}`)})`;
    case "isdistinct":
      return isFloating ? undefined : `${operand} IS DISTINCT FROM ${parameter(type)}`;
    case "is":
      return isFloating ? undefined : isTest(operand, { value, type });
    default:
      return undefined; // patterns are tried by the filter alone
  }
}

function isTest(
  operand: string,
  { value, type }: { readonly value: string; readonly type: string },
): string | undefined {
  if (value === "null") return `${operand} IS NULL`;
  if (type !== "bool" || !["true", "false", "unknown"].includes(value)) return undefined;
  return `${operand} IS ${value.toUpperCase()}`;
}

/** The type under any domains, if it is PostgreSQL's own. */
const builtInType = ({ type, baseType, typeOid }: Column): string | undefined =>
  baseType ?? (typeOid < firstUserOid ? type : undefined);
