import { describe, expect, it } from "vitest";
import { EventRate } from "./event-rate.ts";

describe("EventRate", () => {
  const clock = { ms: 1_000_000 };
  const create = (): EventRate => new EventRate(() => clock.ms);

  it("is nothing without events", () => {
    expect(create().perSecond()).toBe(0);
  });

  it("is the average over the ticks since the first event, and later over the last minute", () => {
    const rate = create();
    rate.add(50);
    expect(rate.perSecond()).toBe(10);
    clock.ms += 5_000;
    expect(rate.perSecond()).toBe(5);
    rate.add(25);
    rate.add(25);
    expect(rate.perSecond()).toBe(10);
    clock.ms += 50_000;
    expect(rate.perSecond()).toBeCloseTo(100 / 60);
    clock.ms += 5_000;
    expect(rate.perSecond()).toBeCloseTo(50 / 60);
    clock.ms += 5_000;
    expect(rate.perSecond()).toBe(0);
  });
});
