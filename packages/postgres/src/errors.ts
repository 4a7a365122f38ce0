import pg from "pg";

/** The source database cannot be reached, or refused the connection. walcast tries again by itself. */
export class DatabaseUnavailableError extends Error {
  readonly code = "DATABASE_UNAVAILABLE";
  constructor(options?: ErrorOptions) {
    super(
      "cannot connect to PostgreSQL; check that it runs and that DATABASE_URL or DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD are right",
      options,
    );
  }
}

/**
 * The SQLSTATE of a PostgreSQL error, also where it is the cause of another (manual, "PostgreSQL Error Codes"). Only the
 * server's own errors have one: the system's codes may look alike, as EPIPE does.
 */
export function sqlStateOf(error: unknown): string | undefined {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if (at instanceof pg.DatabaseError && at.code !== undefined) return at.code;
  }
  return undefined;
}
