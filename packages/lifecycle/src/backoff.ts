import { setTimeout as delay } from "node:timers/promises";

export interface BackoffOptions {
  readonly minMs?: number;
  readonly maxMs?: number;
  readonly random?: () => number;
}

/** How long to wait after the nth failure in a row: doubling up to the limit, half of it random so that many do not return at once. */
export function backoffMs(
  failures: number,
  { minMs = 100, maxMs = 10_000, random = Math.random }: BackoffOptions = {},
): number {
  const full = Math.min(maxMs, minMs * 2 ** Math.min(30, Math.max(0, failures - 1)));
  return full / 2 + (full / 2) * random();
}

/** Waits as `backoffMs` says; returns early, without an error, when the signal fires. */
export async function backoff(failures: number, signal: AbortSignal, options: BackoffOptions = {}): Promise<void> {
  await sleep(backoffMs(failures, options), signal);
}

/** Waits; returns early, without an error, when the signal fires. */
export async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
