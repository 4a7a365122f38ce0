import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { backoff, backoffMs, sleep } from "./backoff.ts";

describe("backoffMs", () => {
  it("doubles up to the limit", () => {
    const longest = [1, 2, 3, 4, 5].map((failures) =>
      backoffMs(failures, { minMs: 100, maxMs: 1000, random: () => 1 }),
    );
    expect(longest).toEqual([100, 200, 400, 800, 1000]);
  });

  it("is at least half of that, and the rest is random", () => {
    fc.assert(
      fc.property(
        fc.nat(10_000),
        fc.integer({ min: 1, max: 1000 }),
        fc.integer({ min: 1, max: 100_000 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (failures, minMs, maxMs, random) => {
          const full = backoffMs(failures, { minMs, maxMs, random: () => 1 });
          const wait = backoffMs(failures, { minMs, maxMs, random: () => random });
          expect(full).toBeLessThanOrEqual(maxMs);
          expect(full).toBeGreaterThanOrEqual(Math.min(minMs, maxMs));
          expect(wait).toBeCloseTo(full * (0.5 + random / 2));
          expect(backoffMs(failures + 1, { minMs, maxMs, random: () => 1 })).toBeGreaterThanOrEqual(full);
        },
      ),
    );
  });

  it("draws anew each time", () => {
    const waits = Array.from({ length: 20 }, () => backoffMs(5));
    expect(new Set(waits).size).toBeGreaterThan(1);
    expect(Math.max(...waits)).toBeLessThanOrEqual(1600);
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(800);
  });
});

describe("waiting", () => {
  it("ends without an error when the signal fires, or has fired before", async () => {
    const stop = new AbortController();
    const waiting = Promise.all([
      sleep(3_600_000, stop.signal),
      backoff(1, stop.signal, { minMs: 3_600_000, maxMs: 3_600_000 }),
    ]);
    stop.abort();
    await expect(waiting).resolves.toEqual([undefined, undefined]);
    await expect(sleep(3_600_000, stop.signal)).resolves.toBeUndefined();
  });

  it("ends when the time is over", async () => {
    const { signal } = new AbortController();
    await expect(sleep(1, signal)).resolves.toBeUndefined();
    await expect(backoff(1, signal, { minMs: 1, maxMs: 1 })).resolves.toBeUndefined();
  });
});
