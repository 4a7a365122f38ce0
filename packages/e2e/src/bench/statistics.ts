export const median = (values: readonly number[]): number => percentile(values, 0.5);

/** The value below which the share `p` of the values lies, by nearest rank. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * p) - 1)] ?? Number.NaN;
}
