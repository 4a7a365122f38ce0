import { unreachable, type Relation } from "@walcast/model";
import { comparableType, type Comparable, type ComparableType } from "./comparable.ts";
import type { Condition } from "./filter.ts";
import type { RecordReader } from "./record-reader.ts";

/** A condition whose values were read as the column's type. */
export interface CompiledCondition {
  readonly condition: Condition;
  readonly type: ComparableType;
  readonly values: readonly Comparable[];
}

/** The condition names a column the table does not have, or a value the column's type cannot have. */
export class FilterTypeError extends Error {
  readonly code = "FILTER_TYPE";
}

/** Throws FilterTypeError, in PostgreSQL's and the peer's words (protocol.md 4.8). */
export function compileCondition(condition: Condition, columns: Relation["columns"]): CompiledCondition {
  const column = columns.find(({ name }) => name === condition.column);
  if (column === undefined) {
    throw new FilterTypeError(`ERROR P0001 (raise_exception) invalid column for filter ${condition.column}`);
  }
  const type = comparableType(column.baseType ?? column.type);
  const values = condition.values.map((text) => {
    const value = type.parse(text);
    if (value !== undefined) return value;
    throw new FilterTypeError(
      `ERROR 22P02 (invalid_text_representation) invalid input syntax for type ${type.label}: ${JSON.stringify(text)}`,
    );
  });
  return { condition, type, values };
}

/** Null and absent values match nothing, negated or not. */
export function holds({ condition, type, values }: CompiledCondition, record: RecordReader): boolean {
  const text = record.text(condition.column);
  if (text === null || text === undefined) return false;
  const value = type.parse(text);
  if (value === undefined) return false;
  return test(condition, value, { type, values }) !== condition.isNegated;
}

function test(condition: Condition, value: Comparable, to: Pick<CompiledCondition, "type" | "values">): boolean {
  const order = (other: Comparable | undefined): number =>
    other === undefined ? Number.NaN : to.type.compare(value, other);
  const [first] = to.values;
  switch (condition.operator) {
    case "eq":
      return order(first) === 0;
    case "neq":
      return order(first) !== 0;
    case "lt":
      return order(first) < 0;
    case "lte":
      return order(first) <= 0;
    case "gt":
      return order(first) > 0;
    case "gte":
      return order(first) >= 0;
    case "in":
      return to.values.some((one) => order(one) === 0);
    default:
      return unreachable(condition.operator);
  }
}
