import { lagOf, wasDelivered, type Change } from "./change-list.ts";

export interface LagPoint {
  readonly atMs: number;
  readonly lagMs: number;
  readonly isDelivered: boolean;
  readonly position: string;
}

/** What the chart shows of the time before now. */
export const chartWindowMs = 60_000;

export const lagPoints = (changes: readonly Change[], nowMs: number): readonly LagPoint[] =>
  changes.flatMap((change) => {
    const lagMs = lagOf(change);
    if (lagMs === undefined || nowMs - change.receivedAtMs > chartWindowMs) return [];
    return [{ atMs: change.receivedAtMs, lagMs, isDelivered: wasDelivered(change), position: change.position }];
  });

/** The value that this share of the values does not exceed; `undefined` of none. */
export function quantile(values: readonly number[], share: number): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

/** A round number whose half is round, too: at least the value, and at least 4. */
export function niceCeiling(value: number): number {
  const least = Math.max(4, value);
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 4, 6, 10].map((factor) => factor * power).find((nice) => nice >= least) ?? 10 * power;
}

/** `850 ms`, `1.2 s`. */
export const millisText = (ms: number): string =>
  Math.abs(ms) < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
