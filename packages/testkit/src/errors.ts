/** A server or tool that tests need is not on this machine. The message says what to install. */
export class MissingServerError extends Error {
  readonly code = "MISSING_SERVER";
}

/** A process ended, or did not become ready. Its last lines of output are in the message. */
export class ProcessFailedError extends Error {
  readonly code = "PROCESS_FAILED";
}

/** Something a test waited for did not happen in time. */
export class WaitTimeoutError extends Error {
  readonly code = "WAIT_TIMEOUT";
}
