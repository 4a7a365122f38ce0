import { sqlStateOf } from "@walcast/postgres";

/** The rows that were asked for cannot be had: the message says what to do, and it is not tried again. */
export class SnapshotRefusedError extends Error {
  readonly code = "SNAPSHOT_REFUSED";
}

/** Reading was cut off, or the table was altered meanwhile. Passes by itself: the rows are read again from the start. */
export class SnapshotInterruptedError extends Error {
  readonly code = "SNAPSHOT_INTERRUPTED";
}

/** SQLSTATEs (manual, "PostgreSQL Error Codes") of what is over when it is tried again. */
const passing = new Set([
  "53300", // too_many_connections
  "40001", // serialization_failure
  "40P01", // deadlock_detected
  "3F000", // invalid_schema_name: what is not there any more is seen when the table is looked up again
  "42P01", // undefined_table
  "42703", // undefined_column
  "42704", // undefined_object
  "55P03", // lock_not_available
]);

/** What became of a statement that reads rows. */
export function explainReading(cause: unknown): SnapshotRefusedError | SnapshotInterruptedError {
  if (cause instanceof SnapshotRefusedError || cause instanceof SnapshotInterruptedError) return cause;
  const state = sqlStateOf(cause);
  const message = cause instanceof Error ? cause.message : String(cause);
  // 08: connection exceptions, 57P: the server is ending, or cuts us off; without a state it is not the server who speaks.
  if (state === undefined || state.startsWith("08") || state.startsWith("57P") || passing.has(state)) {
    return new SnapshotInterruptedError(`the rows could not be read to the end: ${message}`, { cause });
  }
  switch (state) {
    case "42501": // insufficient_privilege
      return new SnapshotRefusedError(`the rows may not be read: ${message}`, { cause });
    case "57014": // query_canceled
      return new SnapshotRefusedError(
        "the rows took too long to read; ask for fewer, index what the filter and the order look at, or raise SNAPSHOT_TIMEOUT_MS",
        { cause },
      );
    case "55000": // object_not_in_prerequisite_state: there is no WAL to write
      return new SnapshotRefusedError(
        "the gateway is connected to a standby, which cannot say where its rows are in the log; connect it to the primary",
        { cause },
      );
    default:
      return new SnapshotRefusedError(`the rows cannot be read: ${message}`, { cause });
  }
}
