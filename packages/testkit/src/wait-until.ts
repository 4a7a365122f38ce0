import { inspect } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";
import { WaitTimeoutError } from "./errors.ts";

export interface WaitOptions {
  /** What is awaited, as a noun phrase: it ends the sentence "waited 5000 ms for …". */
  readonly what: string;
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
}

/**
 * Asks again and again until the answer is truthy, and resolves with that answer.
 *
 * A predicate that throws counts as "not yet"; its last error is the cause of the timeout.
 */
export async function waitUntil<T>(
  predicate: () => T | Promise<T>,
  { what, timeoutMs = 10_000, intervalMs = 20 }: WaitOptions,
): Promise<Exclude<T, false | 0 | "" | null | undefined>> {
  const deadline = performance.now() + timeoutMs;
  let cause: unknown;
  for (;;) {
    try {
      const answer = await predicate();
      if (isTruthy(answer)) return answer;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (performance.now() >= deadline) {
      const reason =
        cause === undefined ? "" : `; last error: ${cause instanceof Error ? cause.message : inspect(cause)}`;
      throw new WaitTimeoutError(`waited ${timeoutMs} ms for ${what}${reason}`, { cause });
    }
    await sleep(intervalMs);
  }
}

function isTruthy<T>(value: T): value is Exclude<T, false | 0 | "" | null | undefined> {
  return Boolean(value);
}
