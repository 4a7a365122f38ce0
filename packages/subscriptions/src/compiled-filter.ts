import { unreachable } from "@walcast/model";
import { parseArrayLiteral, type ArrayElement } from "./array-literal.ts";
import type { Comparable, ComparableType } from "./comparable.ts";
import { FilterTypeError, invalidColumn, invalidValue, raised } from "./filter-errors.ts";
import type { Condition, Filter, Junction, Operator, Term } from "./filter.ts";
import { compileLike, LikePatternError } from "./like-pattern.ts";
import { findOperand, type Operand } from "./operand.ts";
import type { RecordReader } from "./record-reader.ts";
import { RegexSyntaxError } from "./regex-syntax.ts";
import { compileRegex } from "./regex.ts";
import type { TableShape } from "./table-shape.ts";

/** SQL's three answers; `undefined` is "unknown", also of a value that the record does not have. */
export type Truth = boolean | undefined;

export type Test = (record: RecordReader) => Truth;

/** Where an index can look a term up instead of testing it. */
export type Access =
  | { readonly tag: "equal"; readonly operand: Operand; readonly values: readonly Comparable[] }
  | {
      readonly tag: "range";
      readonly operand: Operand;
      readonly operator: "lt" | "lte" | "gt" | "gte";
      readonly value: Comparable;
    };

export interface CompiledTerm {
  readonly test: Test;
  /** Says the same as `test`. */
  readonly access: Access | undefined;
}

/**
 * How many steps the regular expressions of one filter may need for one record, all together: some 50 milliseconds. Beyond
 * them the answer is unknown.
 */
const regexStepsLimit = 4_000_000;

/** Reads a filter's terms as its columns' types have it. Throws FilterTypeError, in PostgreSQL's and the peer's words. */
export function compileFilter(filter: Filter, shape: TableShape): CompiledTerm[] {
  const context = { shape, whole: filter };
  return filter.map((term) => compileTerm(term, context));
}

interface Context {
  readonly shape: TableShape;
  /** The filter that the term is of: its regular expressions share a budget. */
  readonly whole: Filter;
}

/** Whether the record passes: unknown is not enough. */
export const passes = (terms: readonly CompiledTerm[], record: RecordReader): boolean =>
  terms.every(({ test }) => test(record) === true);

function compileTerm(term: Term, context: Context): CompiledTerm {
  return term.tag === "condition" ? compileCondition(term, context) : compileJunction(term, context);
}

function compileJunction({ tag, isNegated, terms }: Junction, context: Context): CompiledTerm {
  const tests = terms.map((term) => compileTerm(term, context).test);
  /** What decides the whole: one false of an `and`, one true of an `or`. */
  const decisive = tag === "or";
  const test: Test = (record) => {
    let isUnknown = false;
    for (const one of tests) {
      const truth = one(record);
      if (truth === decisive) return decisive;
      isUnknown ||= truth === undefined;
    }
    return isUnknown ? undefined : !decisive;
  };
  return { test: isNegated ? not(test) : test, access: undefined };
}

const not =
  (test: Test): Test =>
  (record) => {
    const truth = test(record);
    return truth === undefined ? undefined : !truth;
  };

function compileCondition(condition: Condition, { shape, whole }: Context): CompiledTerm {
  const operand = findOperand(condition, shape);
  if (operand === undefined) throw invalidColumn("filter", condition.column);
  const { isNegated, unknownAs } = condition;
  const plain = testOf(condition, operand, whole);
  const test = isNegated ? not(plain) : plain;
  if (unknownAs === undefined) return { test, access: accessOf(condition, operand) };
  return { test: (record) => test(record) ?? unknownAs, access: undefined };
}

function testOf({ operator, value }: Condition, operand: Operand, whole: Filter): Test {
  const { type } = operand;
  switch (operator) {
    case "eq":
      return compare(operand, value, (order) => order === 0);
    case "neq":
      return compare(operand, value, (order) => order !== 0);
    case "lt":
      return compare(operand, value, (order) => order < 0);
    case "lte":
      return compare(operand, value, (order) => order <= 0);
    case "gt":
      return compare(operand, value, (order) => order > 0);
    case "gte":
      return compare(operand, value, (order) => order >= 0);
    case "in":
      return isIn(operand, value);
    case "isdistinct": {
      const wanted = parse(type, value);
      return (record) => {
        const found = operand.value(record);
        return found === undefined ? undefined : found === null || type.compare(found, wanted) !== 0;
      };
    }
    case "is":
      return is(operand, value);
    case "like":
    case "ilike":
      return onText(operand, operator, () => likeOf(value, operator));
    case "match":
    case "imatch":
      return onText(operand, operator, () => regexOf(value, operator, whole));
    default:
      return unreachable(operator);
  }
}

function parse(type: ComparableType, text: string): Comparable {
  const value = type.parse(text);
  if (value === undefined) throw invalidValue(type, text);
  return value;
}

function compare(operand: Operand, text: string, holds: (order: number) => boolean): Test {
  const wanted = parse(operand.type, text);
  const { type } = operand;
  return (record) => {
    const found = operand.value(record);
    return found === undefined || found === null ? undefined : holds(type.compare(found, wanted));
  };
}

const inLimit = 100;

/** The list's values; `hasNull` when NULL is among them, which makes "not in it" unknown. */
function listOf(type: ComparableType, literal: string): { values: Comparable[]; hasNull: boolean } {
  const elements = parseArrayLiteral(literal);
  if (elements === undefined)
    throw new FilterTypeError(`22P02 (invalid_text_representation) malformed array literal: "${literal}"`);
  const flat = flatten(elements);
  if (flat.length > inLimit) throw raised(`too many values for \`in\` filter. Maximum ${inLimit}`);
  const texts = flat.filter((element) => element !== null);
  return { values: texts.map((text) => parse(type, text)), hasNull: texts.length < flat.length };
}

const flatten = (elements: readonly ArrayElement[]): (string | null)[] =>
  elements.flatMap((element) => (element === null || typeof element === "string" ? [element] : flatten(element)));

/** Equality of comparable values is that of map keys, so a set finds them. */
function isIn(operand: Operand, literal: string): Test {
  const { values, hasNull } = listOf(operand.type, literal);
  const set = new Set(values);
  return (record) => {
    const found = operand.value(record);
    if (found === undefined || found === null) return undefined;
    return set.has(found) || (hasNull ? undefined : false);
  };
}

function is(operand: Operand, value: string): Test {
  if (value === "null")
    return (record) => {
      const text = operand.text(record);
      return text === undefined ? undefined : text === null;
    };
  if (value !== "true" && value !== "false" && value !== "unknown")
    throw raised("invalid value for is filter: must be null, true, false, or unknown");
  if (operand.type.kind !== "boolean")
    throw raised(`is ${value} filter requires a boolean column, got ${operand.declared}`);
  const wanted = value === "unknown" ? null : value === "true";
  return (record) => {
    const found = operand.value(record);
    return found === undefined ? undefined : found === wanted;
  };
}

type TextTest = (text: string, record: RecordReader) => Truth;

function onText(operand: Operand, operator: Operator, compile: () => TextTest): Test {
  if (operand.type.kind !== "text")
    throw raised(`operator ${operator} requires a text-compatible column type, got ${operand.declared}`);
  const matches = compile();
  return (record) => {
    const text = operand.text(record);
    return text === undefined || text === null ? undefined : matches(text, record);
  };
}

function likeOf(pattern: string, operator: "like" | "ilike"): (text: string) => boolean {
  try {
    return compileLike(pattern, { ignoreCase: operator === "ilike" });
  } catch (error) {
    if (!(error instanceof LikePatternError)) throw error;
    const state = error.reason === "escape" ? "22025 (invalid_escape_sequence)" : "54000 (program_limit_exceeded)";
    throw new FilterTypeError(`${state} ${error.message}`, { cause: error });
  }
}

function regexOf(pattern: string, operator: "match" | "imatch", whole: Filter): TextTest {
  try {
    const regex = compileRegex(pattern, { ignoreCase: operator === "imatch" });
    return (text, record) => (record.spend(whole, regex.steps(text)) > regexStepsLimit ? undefined : regex.test(text));
  } catch (error) {
    if (!(error instanceof RegexSyntaxError)) throw error;
    throw raised(`invalid regular expression for ${operator} filter: ${error.message}`, { cause: error });
  }
}

const negations = { lt: "gte", lte: "gt", gt: "lte", gte: "lt" } as const;

function accessOf({ operator, isNegated, value }: Condition, operand: Operand): Access | undefined {
  switch (operator) {
    case "eq":
      return isNegated ? undefined : { tag: "equal", operand, values: [parse(operand.type, value)] };
    case "neq":
      return isNegated ? { tag: "equal", operand, values: [parse(operand.type, value)] } : undefined;
    case "in":
      return isNegated
        ? undefined
        : { tag: "equal", operand, values: [...new Set(listOf(operand.type, value).values)] };
    case "lt":
    case "lte":
    case "gt":
    case "gte":
      return {
        tag: "range",
        operand,
        operator: isNegated ? negations[operator] : operator,
        value: parse(operand.type, value),
      };
    default:
      return undefined;
  }
}
