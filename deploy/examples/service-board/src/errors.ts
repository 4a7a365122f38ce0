/** The two servers the board lives on. */
export type Upstream = "postgres" | "realtime";

/** One of the two servers is not there, or refuses. The board shows "reconnecting" and tries again. */
export class UpstreamError extends Error {
  readonly code = "UPSTREAM_UNAVAILABLE";
  readonly upstream: Upstream;
  /** What a person can do about it. */
  readonly remedy: string;
  constructor(upstream: Upstream, message: string, { remedy, cause }: { remedy: string; cause?: unknown }) {
    super(message, { cause });
    this.upstream = upstream;
    this.remedy = remedy;
  }
}

/** The SQLSTATE of a PostgreSQL error or the code of a system error. */
export function errorCode(error: unknown): string | undefined {
  const code: unknown = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : undefined;
}

/** A name with several addresses fails with an AggregateError whose own message is empty. */
export function errorMessage(error: unknown): string {
  if (error instanceof AggregateError && error.message === "") return error.errors.map(errorMessage).join("; ");
  return error instanceof Error ? error.message : String(error);
}
