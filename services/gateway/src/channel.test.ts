import { describe, expect, it } from "vitest";
import { addressing, type Channel } from "./channel.ts";
import { TokenExpiry } from "./token-expiry.ts";

const channel = (joinRef: unknown): Channel => ({
  topic: "realtime:room",
  joinRef,
  dialect: "current",
  claims: undefined,
  membership: undefined,
  ended: new AbortController(),
  expiry: new TokenExpiry({ now: () => 0, onExpired: () => undefined }),
});

describe("addressing", () => {
  it.each<[string, Channel | undefined, unknown, string]>([
    ["a topic that is not joined", undefined, "1", "unmatched"],
    ["the join it belongs to", channel("1"), "1", "current"],
    ["a former join", channel("2"), "1", "stale"],
    ["no join_ref", channel("2"), undefined, "current"],
    ["a null join_ref", channel("2"), null, "current"],
    ["a join_ref where the join had none", channel(undefined), "1", "stale"],
  ])("judges a frame with %s", (_, joined, joinRef, expected) => {
    expect(addressing(joined, joinRef)).toBe(expected);
  });
});
