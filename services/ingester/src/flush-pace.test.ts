import fc from "fast-check";
import { expect, it } from "vitest";
import { FlushPace } from "./flush-pace.ts";

it("lets a burst pass, and then as many as time brings", () => {
  const pace = new FlushPace({ perSecond: 1_000, burst: 3, nowMs: 0 });
  expect([0, 0, 0, 0].map((at) => pace.take(at))).toEqual([0, 0, 0, 1]);
  expect(pace.take(0.5)).toBeCloseTo(0.5);
  expect(pace.take(1)).toBe(0);
  expect(pace.take(1)).toBeCloseTo(1);
  expect([100, 100, 100, 100].map((at) => pace.take(at))).toEqual([0, 0, 0, 1]);
});

it("never lets more pass than the burst and what time brings, and who waits as told may go", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 5, noNaN: true })), (gaps) => {
      const pace = new FlushPace({ perSecond: 1_000, burst: 5, nowMs: 0 });
      let [nowMs, passed] = [0, 0];
      for (const gap of gaps) {
        nowMs += gap;
        const waitMs = pace.take(nowMs);
        if (waitMs > 0) expect(pace.take((nowMs += waitMs + 1e-6))).toBe(0);
        passed++;
        expect(passed).toBeLessThanOrEqual(5 + nowMs + 1);
      }
    }),
  );
});
