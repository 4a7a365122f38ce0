import { jsonTextType, jsonValueType, orderedEnumType, type Comparable, type ComparableType } from "./comparable.ts";
import type { EnumOrder } from "./enum-orders.ts";
import type { Condition } from "./filter.ts";
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
export function findOperand(
  { column: name, enumOrders }: Pick<Condition, "column" | "enumOrders">,
  shape: TableShape,
): Operand | undefined {
  const column = shape.byName.get(name);
  if (column !== undefined) {
    const order = enumOrders?.of(column.typeOid);
    return order === undefined ? columnOperand(column) : enumOperand(column, order);
  }
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

/** One for each column and order: of clients from before and from after a label was added. */
const enumOperands = new WeakMap<ShapeColumn, Map<string, Operand>>();

function enumOperand(column: ShapeColumn, order: EnumOrder): Operand {
  const operands = enumOperands.get(column) ?? new Map<string, Operand>();
  enumOperands.set(column, operands);
  const known = operands.get(order.key);
  if (known !== undefined) return known;
  const { index, declared } = column;
  const type = orderedEnumType(column.type.label, order.labels);
  const text = (record: RecordReader): string | null | undefined => record.text(index);
  const operand = { key: `${index} ${order.key}`, type, declared, text, value: valueOf(type, text) };
  operands.set(order.key, operand);
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
  return { key, type, declared: type.printed, text, value: valueOf(type, text) };
}

const valueOf =
  (type: ComparableType, text: Operand["text"]): Operand["value"] =>
  (record) => {
    const found = text(record);
    return typeof found === "string" ? type.read(found) : found;
  };
