/** The log cannot be reached or did not answer in time. Operator: look at NATS; walcast tries again by itself. */
export class ChangeLogUnavailableError extends Error {
  readonly code = "CHANGE_LOG_UNAVAILABLE";
  constructor(what: string, options?: ErrorOptions) {
    super(`${what}; check that NATS runs with JetStream and that NATS_URL is right`, options);
  }
}

/**
 * Another writer appended since this one looked: the server refused the batch (Nats-Expected-Last-Sequence).
 * Operator: two leaders met, which is what the rule is for; the refused one steps down by itself.
 */
export class AppendRefusedError extends Error {
  readonly code = "APPEND_REFUSED";
  constructor(stream: string, options?: ErrorOptions) {
    super(`stream ${stream} has grown behind this writer's back: another ingester writes to it`, options);
  }
}

/** Bytes in the log that are not a batch. Operator: something else publishes to walcast's subjects. */
export class BatchFormatError extends Error {
  readonly code = "BATCH_FORMAT";
  constructor(problem: string, options?: ErrorOptions) {
    super(`not a walcast batch: ${problem}; nothing but walcast may publish to its subjects`, options);
  }
}

/** An existing stream or server does not fit. Operator: the message names the setting and both values. */
export class ChangeLogMisfitError extends Error {
  readonly code = "CHANGE_LOG_MISFIT";
}
