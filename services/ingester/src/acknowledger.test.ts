import { toLsn, type Lsn, type Position } from "@walcast/model";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Acknowledger } from "./acknowledger.ts";

const lsn = (value: number): Lsn => toLsn(BigInt(value));
const fresh = (syncIntervalMs: number, confirmed = 0) =>
  new Acknowledger({ syncIntervalMs, confirmedLsn: lsn(confirmed) });

describe("Acknowledger", () => {
  it("confirms nothing but what the log has stored, with all before it, for as long as it may still lose it", () => {
    const steps = fc.oneof(
      // The stream was read on: so many more batches, and the end of a transaction or a keepalive.
      fc.record({ do: fc.constant("receive" as const), distance: fc.nat(5), batches: fc.nat(3) }),
      fc.record({ do: fc.constant("store" as const), which: fc.nat() }),
      fc.record({ do: fc.constant("wait" as const), ms: fc.nat(300) }),
    );
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 80 }), fc.constantFrom(0, 10, 250), (script, syncIntervalMs) => {
        const acknowledger = fresh(syncIntervalMs, 7);
        let now = 0;
        let received = 7;
        let batches = 0;
        const inFlight: number[] = [];
        /** When each batch was stored. */
        const storedAt = new Map<number, number>();
        const checkpoints = [{ lsn: 7, batch: 0 }];
        let flushed = lsn(7);

        const check = (): void => {
          const confirmed = acknowledger.flushedLsn(now);
          expect(confirmed >= flushed).toBe(true);
          flushed = confirmed;
          const checkpoint = checkpoints.findLast((one) => lsn(one.lsn) === confirmed);
          expect(checkpoint).toBeDefined();
          for (let batch = 1; batch <= (checkpoint?.batch ?? 0); batch++) {
            expect(now - (storedAt.get(batch) ?? Infinity)).toBeGreaterThanOrEqual(syncIntervalMs);
          }
          expect(acknowledger.receivedLsn >= acknowledger.publishedLsn).toBe(true);
          expect(acknowledger.publishedLsn >= confirmed).toBe(true);
        };
        for (const step of script) {
          if (step.do === "receive") {
            for (let i = 0; i < step.batches; i++) inFlight.push(++batches);
            received += step.distance;
            if (step.distance > 0) checkpoints.push({ lsn: received, batch: batches });
            acknowledger.received(lsn(received), batches, now);
          } else if (step.do === "store") {
            const [stored] = inFlight.length === 0 ? [] : inFlight.splice(step.which % inFlight.length, 1);
            if (stored === undefined) continue;
            storedAt.set(stored, now);
            acknowledger.stored(stored, now);
          } else {
            now += step.ms;
          }
          check();
        }
        for (const batch of inFlight) {
          storedAt.set(batch, now);
          acknowledger.stored(batch, now);
        }
        expect(acknowledger.publishedLsn).toBe(lsn(received));
        check();
        now += syncIntervalMs;
        check();
        expect(flushed).toBe(lsn(received));
      }),
      { numRuns: 1000 },
    );
  });

  it("waits for the batches before one that was stored early", () => {
    const acknowledger = fresh(0);
    acknowledger.received(lsn(10), 1, 0);
    acknowledger.received(lsn(20), 2, 0);
    acknowledger.stored(2, 0);
    expect(acknowledger.flushedLsn(0)).toBe(lsn(0));
    acknowledger.stored(1, 0);
    expect(acknowledger.flushedLsn(0)).toBe(lsn(20));
  });

  it("confirms a keepalive at once when nothing is in flight, and else not before what is", () => {
    const acknowledger = fresh(0);
    acknowledger.received(lsn(10), 0, 0);
    expect(acknowledger.flushedLsn(0)).toBe(lsn(10));
    acknowledger.received(lsn(20), 1, 0);
    acknowledger.received(lsn(30), 1, 0);
    expect(acknowledger.flushedLsn(0)).toBe(lsn(10));
    acknowledger.stored(1, 0);
    expect(acknowledger.flushedLsn(0)).toBe(lsn(30));
  });

  it("lets an acknowledged batch grow old first", () => {
    const acknowledger = fresh(1000);
    acknowledger.received(lsn(10), 1, 0);
    acknowledger.stored(1, 500);
    expect(acknowledger.publishedLsn).toBe(lsn(10));
    expect(acknowledger.flushedLsn(1499)).toBe(lsn(0));
    expect(acknowledger.flushedLsn(1500)).toBe(lsn(10));
  });

  it("knows a change that PostgreSQL may have forgotten, and none that it may still have to give again", () => {
    const acknowledger = fresh(1000);
    const change = (value: number): Position => ({ epoch: 1, commitLsn: lsn(value), index: 0 });
    acknowledger.received(lsn(10), 1, 0, change(8));
    acknowledger.received(lsn(20), 1, 0);
    acknowledger.received(lsn(30), 2, 0, change(28));
    acknowledger.stored(1, 0);
    acknowledger.flushedLsn(999);
    expect(acknowledger.flushedChange).toBeUndefined();
    expect([acknowledger.flushedLsn(1_000), acknowledger.flushedChange]).toEqual([lsn(20), change(8)]);
    acknowledger.stored(2, 1_000);
    acknowledger.received(lsn(40), 2, 1_000); // an idle database
    acknowledger.flushedLsn(1_999);
    expect(acknowledger.flushedChange).toEqual(change(8));
    expect([acknowledger.flushedLsn(2_000), acknowledger.flushedChange]).toEqual([lsn(40), change(28)]);
  });

  it("never goes back, not behind where the slot stands either", () => {
    const acknowledger = fresh(0, 100);
    acknowledger.received(lsn(50), 0, 0);
    expect([acknowledger.receivedLsn, acknowledger.flushedLsn(0)]).toEqual([lsn(100), lsn(100)]);
    acknowledger.received(lsn(150), 0, 0);
    acknowledger.received(lsn(120), 0, 0);
    expect(acknowledger.flushedLsn(0)).toBe(lsn(150));
  });

  // Under a steady load each change once postponed the confirmation of those before it, up to twice the interval.
  it("is never much further behind than the interval, however steadily changes come", () => {
    const syncIntervalMs = 120_000;
    const acknowledger = fresh(syncIntervalMs);
    let behind = 0;
    for (let now = 1; now <= 5 * syncIntervalMs; now += 100) {
      acknowledger.received(lsn(now), now, now);
      for (let batch = now - 99; batch <= now; batch++) acknowledger.stored(batch, now);
      if (now > syncIntervalMs * 1.1) behind = Math.max(behind, now - Number(acknowledger.flushedLsn(now)));
    }
    expect(behind).toBeGreaterThan(0);
    expect(behind).toBeLessThan(syncIntervalMs * 1.02);
  });
});
