import type { Column } from "@walcast/model";
import { invalidColumn } from "./filter-errors.ts";

/** What the columns of a selection are chosen from. */
export interface SelectableTable {
  readonly columns: readonly Column[];
  readonly primaryKey: readonly string[];
}

/**
 * The columns a binding's `select` stands for: those it lists and the primary key, in the table's order, so that equal
 * selections are equal lists. Throws FilterTypeError.
 */
export function resolveSelection(select: readonly string[], { columns, primaryKey }: SelectableTable): string[] {
  const wanted = new Set([...select, ...primaryKey]);
  for (const name of select) {
    if (!columns.some((column) => column.name === name)) throw invalidColumn("select", name);
  }
  return columns.map(({ name }) => name).filter((name) => wanted.has(name));
}
