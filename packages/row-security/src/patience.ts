import { backoff } from "@walcast/lifecycle";
import { DatabaseBusyError, PolicyTimeoutError } from "./errors.ts";

/** How often what passes by itself is asked again. */
export interface Patience {
  /** Locks, deadlocks, lack of memory: until this time has passed. */
  readonly busyMs: number;
  /** A statement that was cancelled may have waited for somebody's lock: so many more times. */
  readonly timeouts: number;
}

/** Changes wait in line for their answer, and nobody but who depends on it waits with them. */
export const patienceOfChanges: Patience = { busyMs: 60_000, timeouts: 2 };
/** A client waits for the answer, ten seconds by default. */
export const patienceOfJoins: Patience = { busyMs: 4_000, timeouts: 0 };

/** Asks until there is an answer, an error that does not pass, or no patience left: then it throws the last error. */
export async function askPatiently<T>(
  ask: () => Promise<T>,
  { busyMs, timeouts }: Patience,
  signal: AbortSignal,
): Promise<T> {
  const startedMs = performance.now();
  let cancelled = 0;
  for (let failures = 1; ; failures++) {
    try {
      return await ask();
    } catch (error) {
      const isPassing =
        error instanceof DatabaseBusyError
          ? performance.now() - startedMs < busyMs
          : error instanceof PolicyTimeoutError && ++cancelled <= timeouts;
      if (!isPassing || signal.aborted) throw error;
      await backoff(failures, signal, { minMs: 10, maxMs: 1_000 });
      signal.throwIfAborted();
    }
  }
}
