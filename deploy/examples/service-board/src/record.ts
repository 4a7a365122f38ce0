import type { Service } from "./service.ts";

/** A row whose shape nobody has checked yet: from a realtime change or from a query. */
export type UncheckedRecord = Readonly<Record<string, unknown>>;

/** A row that cannot be a service: the table is another one, or the reader may not see all of its columns. */
export class RecordError extends Error {
  readonly code = "RECORD_UNREADABLE";
  constructor(column: string, value: unknown) {
    super(`public.service has no usable "${column}": got ${JSON.stringify(value) ?? "nothing"}`);
  }
}

/** bigint arrives as text from `pg` and as a number from realtime; both are exact up to 2^53. */
export function readWholeNumber(record: UncheckedRecord, column: string): number {
  const value = record[column];
  const number = typeof value === "string" && value !== "" ? Number(value) : value;
  if (typeof number !== "number" || !Number.isSafeInteger(number)) throw new RecordError(column, value);
  return number;
}

function readText(record: UncheckedRecord, column: string): string {
  const value = record[column];
  if (typeof value !== "string") throw new RecordError(column, value);
  return value;
}

/** One form for all clients: `pg` gives a Date, servers write the offset as `Z` or as `+00:00`. */
function readInstant(record: UncheckedRecord, column: string): string {
  const value = record[column];
  const instant = typeof value === "string" || value instanceof Date ? new Date(value) : new Date(Number.NaN);
  if (Number.isNaN(instant.getTime())) throw new RecordError(column, value);
  return instant.toISOString();
}

export function readService(record: UncheckedRecord): Service {
  return {
    id: readWholeNumber(record, "id"),
    customer: readText(record, "customer"),
    vehicle: readText(record, "vehicle"),
    place: readText(record, "place"),
    problem: readText(record, "problem"),
    statusId: readWholeNumber(record, "status_id"),
    revision: readWholeNumber(record, "revision"),
    createdAt: readInstant(record, "created_at"),
    updatedAt: readInstant(record, "updated_at"),
  };
}
