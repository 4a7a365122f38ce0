import { describe, expect, it } from "vitest";
import { compareRecord, gapMark, Recorder } from "./record.ts";

const none = { lost: 0, told: 0, outOfOrder: 0, invented: 0, idleGaps: 0, examples: [] };
/** Commits are in another order than numbers. */
const committed = [3, 1, 2, 7, 5];

describe("a record", () => {
  it.each([
    ["all of it", committed, {}],
    ["without its beginning", [1, 2, 7, 5], { lost: 1, examples: ["lost 1: 3"] }],
    ["with a hole", [3, 7, 5], { lost: 2, examples: ["lost 2: 1 to 2"] }],
    ["with a hole that was told", [3, gapMark, 7, 5], { told: 2 }],
    ["with a hole elsewhere than told", [3, gapMark, 1, 7, 5], { lost: 1, idleGaps: 1, examples: ["lost 1: 2"] }],
    ["without its end", [3, 1, 2], { lost: 2, examples: ["lost 2: 7 to 5"] }],
    ["without its end, which was told", [3, 1, 2, gapMark], { told: 2 }],
    ["by number", [1, 2, 3, 5, 7], { lost: 2, outOfOrder: 2 }],
    ["with somebody else's row", [3, 1, 4, 2, 7, 5], { invented: 1, examples: ["invented 1: 4"] }],
    ["with a gap where nothing is missing", [3, gapMark, 1, 2, 7, 5], { idleGaps: 1 }],
  ])("%s", (_, items, verdict) => {
    expect(compareRecord(items, committed)).toMatchObject({
      ...none,
      examples: expect.any(Array) as unknown,
      ...verdict,
    });
  });

  it("holds each row where it came first, and how long it was silent", () => {
    let nowMs = 0;
    const recorder = new Recorder(() => (nowMs += 100));
    for (const id of [1, 2, 1, 3]) recorder.row(id);
    nowMs += 5_000;
    recorder.rest();
    recorder.row(2);
    nowMs += 300;
    recorder.row(4);
    recorder.gap("ResumeGap: …");
    expect(recorder.record).toMatchObject({ items: [1, 2, 3, 4, gapMark], deliveries: 6, longestSilenceMs: 400 });
  });
});
