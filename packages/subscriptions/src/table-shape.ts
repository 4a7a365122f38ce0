import type { Column, Relation } from "@walcast/model";
import { comparableType, enumType, type ComparableType } from "./comparable.ts";

/** A column as records of its table are read. */
export interface ShapeColumn {
  readonly name: string;
  /** Place in the table, and in what a RecordReader keeps of a record. */
  readonly index: number;
  /** `"name":` as records have it. */
  readonly key: Buffer;
  /** What its values compare as: the type under any domains. */
  readonly type: ComparableType;
  readonly isJson: boolean;
  /** The declared type's name, domains included. */
  readonly declared: string;
  readonly typeOid: number;
}

/** What is worked out once for a table, as long as its columns stay the same. */
export interface TableShape {
  readonly columns: readonly ShapeColumn[];
  readonly byName: ReadonlyMap<string, ShapeColumn>;
}

const shapes = new WeakMap<Relation["columns"], TableShape>();

/** The shape of these columns; the same array gives the same shape. */
export function shapeOf(columns: Relation["columns"]): TableShape {
  const known = shapes.get(columns);
  if (known !== undefined) return known;
  const list = columns.map((column, index) => toShapeColumn(column, index));
  const shape = { columns: list, byName: new Map(list.map((column) => [column.name, column])) };
  shapes.set(columns, shape);
  return shape;
}

const toShapeColumn = ({ name, type, baseType = type, typeOid, labels }: Column, index: number): ShapeColumn => {
  const comparable = labels === undefined ? comparableType(baseType) : enumType(baseType, labels);
  return {
    name,
    index,
    key: Buffer.from(`${JSON.stringify(name)}:`),
    type: comparable,
    isJson: comparable.label === "json" || comparable.label === "jsonb",
    declared: baseType === type ? comparable.printed : type,
    typeOid,
  };
};
