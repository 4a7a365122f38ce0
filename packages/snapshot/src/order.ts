import { escapeIdentifier } from "pg";
import { SnapshotRefusedError } from "./errors.ts";

/** What rows are sorted by. */
export interface OrderTerm {
  readonly column: string;
  readonly isDescending: boolean;
  /** `undefined`: as PostgreSQL has it, last when ascending. */
  readonly nulls: "first" | "last" | undefined;
}

/**
 * Reads `created_at.desc.nullslast,id`: columns, each with `.asc` or `.desc` and `.nullsfirst` or `.nullslast`, as
 * PostgREST has them. Throws SnapshotRefusedError.
 */
export function parseOrder(text: string): readonly OrderTerm[] {
  return text.split(",").map((part) => {
    const match = /^(.+?)(?:\.(asc|desc))?(?:\.nulls(first|last))?$/u.exec(part.trim());
    const [, column, direction, nulls] = match ?? [];
    if (column === undefined)
      throw new SnapshotRefusedError(`order ${JSON.stringify(text)} has a part without a column`);
    return {
      column,
      isDescending: direction === "desc",
      nulls: nulls === "first" || nulls === "last" ? nulls : undefined,
    };
  });
}

/** `ORDER BY …`, or nothing. */
export function orderSql(terms: readonly OrderTerm[]): string {
  if (terms.length === 0) return "";
  const parts = terms.map(
    ({ column, isDescending, nulls }) =>
      `t.${escapeIdentifier(column)}${isDescending ? " DESC" : ""}${nulls === undefined ? "" : ` NULLS ${nulls.toUpperCase()}`}`,
  );
  return `ORDER BY ${parts.join(", ")}`;
}
