import { jsonTextType, jsonValueType, type Comparable, type ComparableType } from "./comparable.ts";
import { parseJsonPath, valueAt, type JsonPath } from "./json-path.ts";
import type { RecordReader } from "./record-reader.ts";
import type { ShapeColumn, TableShape } from "./table-shape.ts";

/** What a condition looks at: a column, or a value inside of a JSON column. */
export interface Operand {
  /** Equal for equal operands of one table. */
  readonly key: string;
  readonly type: ComparableType;
  /** Its type as error messages name it. */
  readonly declared: string;
  /** `null` is SQL's null, `undefined` an absent value. */
  text(record: RecordReader): string | null | undefined;
  value(record: RecordReader): Comparable | null | undefined;
}

/** A column of this name, arrows and all, goes before a path. */
export function findOperand(name: string, shape: TableShape): Operand | undefined {
  const column = shape.byName.get(name);
  if (column !== undefined) return columnOperand(column);
  const arrow = name.indexOf("->");
  const json = arrow === -1 ? undefined : shape.byName.get(name.slice(0, arrow));
  const path = json === undefined ? undefined : parseJsonPath(name.slice(arrow));
  return json === undefined || path === undefined || !json.isJson ? undefined : pathOperand(json, path, name);
}

/** One for each column, however many filters look at it. */
const columnOperands = new WeakMap<ShapeColumn, Operand>();

function columnOperand(column: ShapeColumn): Operand {
  const known = columnOperands.get(column);
  if (known !== undefined) return known;
  const { index, type, declared } = column;
  const operand: Operand = {
    key: String(index),
    type,
    declared,
    text: (record) => record.text(index),
    value: (record) => record.value(index),
  };
  columnOperands.set(column, operand);
  return operand;
}

function pathOperand({ index }: ShapeColumn, { steps, asText }: JsonPath, key: string): Operand {
  const type = asText ? jsonTextType : jsonValueType;
  const text = (record: RecordReader): string | null | undefined => {
    const json = record.raw(index);
    if (json === undefined) return undefined;
    const found = valueAt(json, steps) ?? null;
    if (found === null || !asText) return found;
    if (found === "null") return null;
    return found.startsWith('"') ? (JSON.parse(found) as string) : found;
  };
  return {
    key,
    type,
    declared: type.printed,
    text,
    value(record) {
      const found = text(record);
      return typeof found === "string" ? type.read(found) : found;
    },
  };
}
