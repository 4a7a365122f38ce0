import { describe, expect, it } from "vitest";
import type { BindingReport, Change } from "./change-list.ts";
import { lagPoints, millisText, niceCeiling, quantile } from "./lag.ts";
import { mainReason, reasonOf } from "./reasons.ts";

const change = (reports: readonly BindingReport[], more: Partial<Change> = {}): Change => ({
  position: "1.0/A.0",
  schema: "public",
  table: "todos",
  kind: "INSERT",
  committedAtMs: 1_000,
  receivedAtMs: 1_004,
  ids: [],
  record: undefined,
  oldRecord: undefined,
  errors: [],
  reports,
  ...more,
});

describe("reasons", () => {
  it.each([
    ["matched", "yes", "matched"],
    ["table", "no", "other table"],
    ["event", "no", "other event"],
    ["rowless", "no", "no row"],
    ["hidden", "hidden", "row not visible"],
    ["refused", "hidden", "not readable"],
    ["unfit", "trouble", "filter does not fit"],
    ["something new", "trouble", "not known"],
  ])("has words for %s", (verdict, tone, short) => {
    expect(reasonOf({ id: 1, verdict })).toMatchObject({ tone, short });
  });

  it("names the terms that do not hold, unless they are not told", () => {
    const terms = [{ text: "a=eq.1", holds: false }];
    expect(reasonOf({ id: 1, verdict: "filter", terms }).short).toBe("a=eq.1 not met");
    expect(reasonOf({ id: 1, verdict: "filter", terms: [] }).short).toBe("filter not met");
    expect(reasonOf({ id: 1, verdict: "column", columns: ["a", "b"] }).short).toBe("a, b not readable");
  });

  it("picks of several the one that says most", () => {
    const table = { id: 1, verdict: "table" };
    const event = { id: 2, verdict: "event", wants: "DELETE" };
    const filter = { id: 3, verdict: "filter", terms: [] };
    expect(mainReason(change([table, event])).short).toBe("other event");
    expect(mainReason(change([table, event, filter])).short).toBe("filter not met");
    expect(mainReason(change([filter, { id: 4, verdict: "hidden" }])).short).toBe("row not visible");
    expect(mainReason(change([filter], { ids: [5] })).short).toBe("matched");
    expect(mainReason(change([], { ids: [5], errors: ["Error 401: Unauthorized"] })).tone).toBe("hidden");
  });
});

describe("lag", () => {
  it("is shown for the last minute, where a time is told", () => {
    const list = [change([]), change([], { receivedAtMs: 90_000 }), change([], { committedAtMs: undefined })];
    expect(lagPoints(list, 61_500)).toHaveLength(1);
    expect(lagPoints(list, 30_000)[0]).toEqual({ atMs: 1_004, lagMs: 4, isDelivered: false, position: "1.0/A.0" });
  });

  it("has quantiles, round scales and units", () => {
    expect(quantile([], 0.5)).toBeUndefined();
    expect([quantile([9, 1, 5], 0.5), quantile([9, 1, 5], 0.95)]).toEqual([5, 9]);
    expect([0, 3, 5, 7, 41, 600, 601].map(niceCeiling)).toEqual([4, 4, 6, 10, 60, 600, 1_000]);
    expect([3.4, 1_250, -20].map(millisText)).toEqual(["3 ms", "1.3 s", "-20 ms"]);
  });
});
