import type { Column } from "@walcast/model";
import { columnsOf, compileFilter, passes, RecordReader, shapeOf, type Filter } from "@walcast/subscriptions";
import { escapeIdentifier } from "pg";
import { SnapshotRefusedError } from "./errors.ts";
import { filterSql } from "./filter-sql.ts";
import { orderSql, type OrderTerm } from "./order.ts";

/** The rows of one table that somebody wants. */
export interface TableRequest {
  readonly oid: number;
  /** How many columns the table had ever had when it was described so (`pg_class.relnatts`). */
  readonly attributes: number;
  readonly schema: string;
  readonly table: string;
  /** Those that are published and may be read, in the table's order. */
  readonly columns: readonly Column[];
  /** Those of them that are sent. */
  readonly sent: readonly Column[];
  readonly filter: Filter;
  readonly order: readonly OrderTerm[];
  /** `undefined`: all rows, if they are not too many. */
  readonly limit: number | undefined;
}

/** What PostgreSQL alone knows of the table at that moment. */
export interface TableFacts {
  readonly attributes: number;
  /** OIDs of the columns' types. */
  readonly types: Readonly<Record<string, number>> | null;
  readonly isPartitioned: boolean;
  /** The condition under which its publications publish a row. */
  readonly rowFilter: string | null;
}

export interface TableQuery {
  readonly text: string;
  readonly values: readonly string[];
  /** What each row holds, in order. */
  readonly columns: readonly Column[];
  /** The part of a record that is sent; `undefined` for a row that the filter does not match. */
  readonly pick: (record: Buffer) => Buffer | undefined;
}

/** One row more than may be sent tells that there are too many. */
const one = 1;

/** Throws SnapshotRefusedError for an order by what is no column, or may not be read. */
export function buildTableQuery(request: TableRequest, facts: TableFacts, maxRows: number): TableQuery {
  const { schema, table, columns, sent, filter, order, limit } = request;
  const readable = new Set(columns.map(({ name }) => name));
  for (const { column } of order) {
    if (!readable.has(column))
      throw new SnapshotRefusedError(`order by ${JSON.stringify(column)}, which is no column that may be read`);
  }
  const rest = filterSql(filter, columns);
  const read = columnsToRead(request, rest.isWhole ? [] : columnsOf(filter));
  const conditions = [rest.text, ...(facts.rowFilter === null ? [] : [`(${facts.rowFilter})`])];
  const list = read.map(({ name }) => `t.${escapeIdentifier(name)}`).join(", ");
  // Rows of tables that inherit are changes of those tables.
  const from = `${facts.isPartitioned ? "" : "ONLY "}${escapeIdentifier(schema)}.${escapeIdentifier(table)} AS t`;
  const end = rest.isWhole ? `LIMIT ${limit ?? maxRows + one}` : "";
  return {
    text: `SELECT ${list} FROM ${from} WHERE ${conditions.join(" AND ")} ${orderSql(order)} ${end}`,
    values: rest.values,
    columns: read,
    pick: pickerOf({ read, sent, filter: rest.isWhole ? [] : filter }),
  };
}

/** In the table's order. A filter may name a path into a JSON column. */
function columnsToRead({ columns, sent }: TableRequest, filtered: readonly string[]): readonly Column[] {
  const wanted = new Set([
    ...sent.map(({ name }) => name),
    ...filtered,
    ...filtered.map((name) => name.split("->")[0]),
  ]);
  return columns.filter(({ name }) => wanted.has(name));
}

function pickerOf(parts: {
  readonly read: readonly Column[];
  readonly sent: readonly Column[];
  readonly filter: Filter;
}): TableQuery["pick"] {
  const { read, sent, filter } = parts;
  if (filter.length === 0 && read.length === sent.length) return (record) => record;
  const shape = shapeOf(read);
  const terms = compileFilter(filter, shape);
  const isSent = new Set(sent.map(({ name }) => name));
  const chosen = shape.columns.filter(({ name }) => isSent.has(name)).map(({ index }) => index);
  return (record) => {
    const reader = new RecordReader(record, shape);
    if (!passes(terms, reader)) return undefined;
    return chosen.length === read.length ? record : reader.project(chosen);
  };
}
