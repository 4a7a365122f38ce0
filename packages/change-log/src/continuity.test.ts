import { describe, expect, it } from "vitest";
import { position } from "./conformance.ts";
import { continuityOf } from "./continuity.ts";

const header = (first: string, last: string, previous?: string) => ({
  first: position(first),
  last: position(last),
  previous: previous === undefined ? undefined : position(previous),
  isMark: false,
});
const mark = (at: string, previous?: string) => ({ ...header(at, at, previous), isMark: true });

describe("continuityOf", () => {
  it.each([
    ["the next batch", "1.0/5.0", header("1.0/6.0", "1.0/7.0", "1.0/5.0"), "follows"],
    ["a batch after changes that were not read here", "1.0/5.0", header("1.0/9.0", "1.0/9.0", "1.0/8.0"), "hole"],
    ["a batch that was read", "1.0/5.0", header("1.0/4.0", "1.0/5.0", "1.0/3.0"), "repeat"],
    ["an older one", "1.0/5.0", header("1.0/1.0", "1.0/1.3"), "repeat"],
    ["one written again that reaches further", "1.0/5.0", header("1.0/4.0", "1.0/6.0", "1.0/3.0"), "follows"],
    ["the log's first batch, read in part", "1.0/5.0", header("1.0/4.0", "1.0/6.0"), "follows"],
    ["a batch that begins with the last change read", "1.0/5.0", header("1.0/5.0", "1.0/6.0"), "follows"],
    ["one whose predecessor was read in part", "1.0/5.5", header("1.0/6.0", "1.0/6.0", "1.0/5.4"), "follows"],
    ["the first batch after a break in continuity", "1.0/5.0", header("2.0/1.0", "2.0/1.0"), "hole"],
    ["the first batch of a log that had nothing in it", "1.0/0.0", header("1.0/6.0", "1.0/6.0"), "follows"],
    ["the first batch of an epoch after the beginning of another", "1.0/0.0", header("2.0/6.0", "2.0/6.0"), "hole"],
    ["the first batch of a log that began anew", "1.0/5.0", header("1.0/6.0", "1.0/6.0"), "hole"],
    ["a mark of a writer that believed the log to end elsewhere", "1.0/5.0", mark("1.0/9.0", "1.0/9.0"), "repeat"],
    ["the mark that begins an epoch", "1.0/5.0", mark("2.0/F.0"), "hole"],
    ["its repeat", "1.0/5.0", mark("2.0/F.0", "2.0/F.0"), "repeat"],
    ["one of a former epoch", "2.0/1.0", header("1.0/9.0", "1.0/9.9"), "repeat"],
  ])("judges %s", (_, last, next, expected) => {
    expect(continuityOf(position(last), next)).toBe(expected);
  });

  it("takes any batch when nothing was read before", () => {
    expect(continuityOf(undefined, header("1.0/6.0", "1.0/7.0", "1.0/5.0"))).toBe("follows");
    expect(continuityOf(undefined, header("1.0/6.0", "1.0/7.0"))).toBe("follows");
  });
});
