/** The network between gateways cannot be reached. Operator: look at NATS; walcast tries again by itself, and serves its own clients meanwhile. */
export class BusUnavailableError extends Error {
  readonly code = "BUS_UNAVAILABLE";
  constructor(what: string, options?: ErrorOptions) {
    super(
      `${what}: broadcasts do not reach clients of other gateways; check that NATS runs and that NATS_URL is right`,
      options,
    );
  }
}

/** The NATS server takes no messages of a useful size. Operator: raise its max_payload. */
export class BusMisfitError extends Error {
  readonly code = "BUS_MISFIT";
}

/** A message above what receivers would put together again. Operator: lower MAX_FRAME_BYTES and MAX_PAYLOAD_KB. */
export class BusMessageTooLargeError extends Error {
  readonly code = "BUS_MESSAGE_TOO_LARGE";
  constructor(bytes: number, limit: number) {
    super(`a message of ${bytes} bytes is above the ${limit} bytes that gateways take from each other`);
  }
}
