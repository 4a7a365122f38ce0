import { setTimeout as sleep } from "node:timers/promises";

const FIRST_MS = 500;
const LONGEST_MS = 15_000;

/** Doubles with every failure in a row; half of it is random, so that many boards do not return at the same moment. */
export function backoffMs(failures: number, random: () => number = Math.random): number {
  const full = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(failures - 1, 10));
  return Math.round(full / 2 + (full / 2) * random());
}

/** Waits; returns early, without an error, when the signal fires. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
