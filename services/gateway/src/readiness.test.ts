import { toLsn, type Lsn } from "@walcast/model";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Reach } from "./reach.ts";
import { Readiness } from "./readiness.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

let answers: (Lsn | undefined | Error)[] = [];
let probes = 0;
function create(): { readonly readiness: Readiness; readonly reach: Reach } {
  probes = 0;
  const reach = new Reach({ nudge: () => Promise.resolve() });
  const probe = (): Promise<Lsn | undefined> => {
    probes++;
    const answer = answers.shift();
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  };
  return { readiness: new Readiness({ probe, reach }), reach };
}
const at = (lsn: bigint) => ({ epoch: 1, commitLsn: toLsn(lsn), index: 0 });

describe("readiness", () => {
  it("is told to all who wait once what was written for it has come back", async () => {
    answers = [undefined, new Error("away"), toLsn(100n)];
    const { readiness, reach } = create();
    const told: string[] = [];
    const watch = (name: string): (() => void) =>
      readiness.watch({ ready: () => told.push(name), late: () => told.push(`${name} late`) });
    watch("one");
    watch("two");
    const leave = watch("three");
    await vi.advanceTimersByTimeAsync(999);
    reach.arrived(at(1_000n)); // of before the probe
    leave();
    expect([probes, told]).toEqual([2, []]);
    reach.arrived(at(50n));
    await vi.advanceTimersByTimeAsync(1);
    reach.arrived(at(99n));
    expect([probes, told]).toEqual([3, []]);
    reach.arrived(at(100n));
    expect(told).toEqual(["one", "two"]);
    await vi.advanceTimersByTimeAsync(120_000);
    expect([probes, told]).toEqual([3, ["one", "two"]]);
  });

  it("is told where the log is read with a delay that is longer than the time between two looks", async () => {
    answers = Array.from({ length: 100 }, (_, i) => toLsn(BigInt(i + 1) * 100n));
    const { readiness, reach } = create();
    const told: string[] = [];
    readiness.watch({ ready: () => told.push("ready"), late: () => told.push("late") });
    for (let i = 0; i < 10 && told.length === 0; i++) {
      await vi.advanceTimersByTimeAsync(500);
      if (probes > 4) reach.arrived(at(BigInt(probes - 4) * 100n)); // of two seconds ago
    }
    expect([probes, told]).toEqual([5, ["ready"]]);
  });

  it("is late after a minute", async () => {
    answers = [];
    const { readiness } = create();
    const told: string[] = [];
    readiness.watch({ ready: () => told.push("ready"), late: () => told.push("late") });
    await vi.advanceTimersByTimeAsync(59_999);
    expect(told).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(told).toEqual(["late"]);
    const before = probes;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(probes).toBe(before);
  });
});

describe("reach", () => {
  it("nudges the log only while somebody waits for a quiet one, failures included", async () => {
    let nudges = 0;
    const reach = new Reach({ nudge: () => Promise.reject(new Error(`refused ${++nudges}`)), nudgeMs: 1_000 });
    const arrived: string[] = [];
    reach.arrived(at(10n));
    reach.wait(toLsn(10n), () => arrived.push("at once"));
    reach.wait(toLsn(11n), () => arrived.push("eleven"));
    const leave = reach.wait(toLsn(12n), () => arrived.push("twelve"));
    await vi.advanceTimersByTimeAsync(2_500);
    expect([nudges, arrived]).toEqual([2, ["at once"]]);
    reach.arrived(at(11n));
    leave();
    await vi.advanceTimersByTimeAsync(5_000);
    reach.arrived(at(20n));
    expect([nudges, arrived]).toEqual([2, ["at once", "eleven"]]);
  });
});
