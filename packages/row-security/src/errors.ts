import { DatabaseUnavailableError, sqlStateOf } from "@walcast/postgres";
import pg from "pg";

/** The token's `role` is none of PostgreSQL's. Operator: create it (`walcast migrate --create-roles`), or fix the tokens. */
export class RoleUnknownError extends Error {
  readonly code = "ROLE_UNKNOWN";
  readonly role: string;
  constructor(role: string, options?: ErrorOptions) {
    super(`role "${role}" does not exist; create it, or sign tokens with one that does`, options);
    this.role = role;
  }
}

/** Operator: `GRANT <role> TO <login>`, so that questions can be asked as that role. Until then its tokens see nothing. */
export class RoleNotGrantedError extends Error {
  readonly code = "ROLE_NOT_GRANTED";
  readonly role: string;
  constructor(role: string, options?: ErrorOptions) {
    super(`walcast may not act as role "${role}"; GRANT it to the role that walcast connects as`, options);
    this.role = role;
  }
}

/** The role lacks a privilege that its question needs, such as SELECT on a table that a policy looks into. */
export class AccessDeniedError extends Error {
  readonly code = "ACCESS_DENIED";
  constructor(options: ErrorOptions) {
    super(`the role lacks a privilege: ${messageOf(options.cause)}`, options);
  }
}

/** A policy took longer than POLICY_TIMEOUT_MS. Operator: index what it looks for, or give it more time. */
export class PolicyTimeoutError extends Error {
  readonly code = "POLICY_TIMEOUT";
  constructor(options: ErrorOptions) {
    super(`a policy took too long: ${messageOf(options.cause)}`, options);
  }
}

/** A policy, or what it calls, raised an error. Operator: the cause says which. */
export class PolicyFailedError extends Error {
  readonly code = "POLICY_FAILED";
  readonly sqlState: string | undefined;
  constructor(options: ErrorOptions) {
    super(`a policy failed: ${messageOf(options.cause)}`, options);
    this.sqlState = sqlStateOf(options.cause);
  }
}

/**
 * PostgreSQL could not answer just then, and no policy is to blame: somebody's lock, a deadlock, a conflict of transactions,
 * no memory or disk. It was asked again for a while. Operator: the cause says which.
 */
export class DatabaseBusyError extends Error {
  readonly code = "DATABASE_BUSY";
  constructor(options: ErrorOptions) {
    super(`PostgreSQL could not answer for the moment: ${messageOf(options.cause)}`, options);
  }
}

/** The table is not what it was: dropped, renamed, or its key altered. Passes by itself; rows of it are withheld. */
export class TableChangedError extends Error {
  readonly code = "TABLE_CHANGED";
  constructor(table: string, options?: ErrorOptions) {
    super(`table ${table} was dropped or altered`, options);
  }
}

/** More questions wait than POLICY_QUEUE_LIMIT allows. Operator: raise DB_POOL_SIZE, or make policies faster. */
export class QueueFullError extends Error {
  readonly code = "POLICY_QUEUE_FULL";
  constructor(limit: number) {
    super(`${limit} questions to the database wait already; raise DB_POOL_SIZE or make policies faster`);
  }
}

/** PostgreSQL has no connection left. Operator: raise max_connections, or lower DB_POOL_SIZE. */
export class TooManyConnectionsError extends Error {
  readonly code = "TOO_MANY_CONNECTIONS";
  constructor(options: ErrorOptions) {
    super("PostgreSQL accepts no more connections; raise max_connections or lower DB_POOL_SIZE", options);
  }
}

/** realtime.messages is not there. Operator: run `walcast migrate`; without it there are no private channels. */
export class SchemaMissingError extends Error {
  readonly code = "REALTIME_SCHEMA_MISSING";
  constructor(options: ErrorOptions) {
    super("realtime.messages does not exist, so there are no private channels; run `walcast migrate`", options);
  }
}

/** Operator: run `walcast migrate` for the role that walcast connects as: it may not insert into realtime.messages. */
export class ProbeRefusedError extends Error {
  readonly code = "PROBE_REFUSED";
  constructor(options: ErrorOptions) {
    super("walcast may not insert into realtime.messages, which asking for rights in channels needs", options);
  }
}

/** No partition of realtime.messages is for today. Operator: the janitor does not run, or may not create tables. */
export class PartitionMissingError extends Error {
  readonly code = "PARTITION_MISSING";
  constructor(options: ErrorOptions) {
    super("realtime.messages has no partition for today; run realtime.walcast_ensure_partitions()", options);
  }
}

/** A transaction that the log has brought cannot be seen for long, as when a synchronous standby is away. Passes by itself. */
export class SnapshotTooOldError extends Error {
  readonly code = "SNAPSHOT_TOO_OLD";
  constructor() {
    super("PostgreSQL does not show yet what it has written to the log: is a synchronous standby away?");
  }
}

/** Everything that asking PostgreSQL for rights can end with. */
export type RowSecurityError =
  | RoleUnknownError
  | RoleNotGrantedError
  | AccessDeniedError
  | PolicyTimeoutError
  | PolicyFailedError
  | DatabaseBusyError
  | TableChangedError
  | QueueFullError
  | TooManyConnectionsError
  | SchemaMissingError
  | ProbeRefusedError
  | PartitionMissingError
  | DatabaseUnavailableError;

/** An error of a question that was asked as a role (manual, "PostgreSQL Error Codes"). */
export function explainQuestion(cause: unknown, table: string): RowSecurityError {
  switch (sqlStateOf(cause)) {
    case "42501": // insufficient_privilege
      return new AccessDeniedError({ cause });
    case "3F000": // invalid_schema_name
    case "42P01": // undefined_table
    case "42703": // undefined_column
    case "42704": // undefined_object, as a type that was renamed
    case "42883": // undefined_function, as an operator between types that are not the same any more
      return isOurs(cause) ? new TableChangedError(table, { cause }) : new PolicyFailedError({ cause });
    default:
      return explainServer(cause);
  }
}

/** What can go wrong with any statement. */
export function explainServer(cause: unknown): RowSecurityError {
  const state = sqlStateOf(cause);
  if (state === "57014") return new PolicyTimeoutError({ cause });
  if (state === "53300") return new TooManyConnectionsError({ cause });
  // 08: connection exceptions, 57P: the server is ending, or cuts us off; without a state it is not the server who speaks.
  if (state === undefined || state.startsWith("08") || state.startsWith("57P")) {
    return cause instanceof DatabaseUnavailableError ? cause : new DatabaseUnavailableError({ cause });
  }
  return isBusy(state) ? new DatabaseBusyError({ cause }) : new PolicyFailedError({ cause });
}

/** 40: serialization failures and deadlocks, 53: insufficient resources; lock_not_available, which is lock_timeout, too. */
const isBusy = (state: string): boolean =>
  state === "40001" || state === "40P01" || state === "55P03" || state.startsWith("53");

/** What a policy's function runs has a context; what our own query names has not. */
const isOurs = (error: unknown): boolean => error instanceof pg.DatabaseError && error.where === undefined;

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
