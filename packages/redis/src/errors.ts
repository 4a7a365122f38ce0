/** Redis did not do what it was asked. Operator: look at Redis; walcast tries again by itself, and serves its own clients meanwhile. */
export class RedisUnavailableError extends Error {
  readonly code = "REDIS_UNAVAILABLE";
  constructor(what: string, options?: ErrorOptions) {
    super(
      `${what}: presence and limits see this gateway only; check that Redis runs and that REDIS_URL is right`,
      options,
    );
  }
}
