import { toLsn } from "@walcast/model";
import { describe, expect, it } from "vitest";
import { continuityBreak, formatOrigin, parseOrigin, parseTimelineHistory } from "./log-origin.ts";

const origin = { systemId: "7573", timeline: 2 };
const facts = {
  logged: { systemId: "7573", timeline: 1 },
  current: origin,
  logEnd: toLsn(100n),
  history: [{ timeline: 1, lsn: toLsn(200n) }],
  serverLsn: toLsn(1_000n),
};

describe("continuityBreak", () => {
  it("goes on when nothing was logged, or nothing of where from", () => {
    expect(continuityBreak({ ...facts, logged: undefined })).toBeUndefined();
    expect(continuityBreak({ ...facts, logged: origin, logEnd: undefined })).toBeUndefined();
  });

  it("goes on over a promotion that lost nothing the log holds", () => {
    expect(continuityBreak(facts)).toBeUndefined();
  });

  it.each([
    ["commits that the promoted server never had", { ...facts, logEnd: toLsn(200n) }, "took over at 0/C8"],
    [
      "a promotion when the log has forgotten what it held",
      { ...facts, logEnd: undefined },
      "another server took over",
    ],
    [
      "another server when the log has forgotten what it held",
      { ...facts, logged: { systemId: "1", timeline: 1 }, logEnd: undefined },
      "this is server 7573",
    ],
    ["a timeline beside the server's own", { ...facts, history: [] }, "timeline 2 does not come from timeline 1"],
    ["another server", { ...facts, logged: { systemId: "1", timeline: 1 } }, "this is server 7573"],
    ["a former timeline", { ...facts, logged: { systemId: "7573", timeline: 3 } }, "went back from timeline 3 to 2"],
    ["WAL that is not there", { ...facts, logEnd: toLsn(1_000n), logged: origin }, "WAL ends at 0/3E8"],
  ])("breaks at %s", (_name, broken, words) => {
    expect(continuityBreak(broken)).toContain(words);
  });
});

it("an origin survives its text form", () => {
  expect(parseOrigin(formatOrigin(origin))).toEqual(origin);
  expect(parseOrigin("unknown")).toBeUndefined();
});

it("a timeline history is read line by line", () => {
  expect(parseTimelineHistory("1\t0/3000060\tno recovery target specified\n\n2\t0/5000000\tbefore x\n")).toEqual([
    { timeline: 1, lsn: toLsn(0x3000060n) },
    { timeline: 2, lsn: toLsn(0x5000000n) },
  ]);
});
