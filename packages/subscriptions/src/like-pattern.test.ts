import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compileLike, LikePatternError } from "./like-pattern.ts";

const matches = (pattern: string, text: string, ignoreCase = false): boolean =>
  compileLike(pattern, { ignoreCase })(text);

/** The plain reading of the manual, character by character. */
function naive(pattern: readonly string[], text: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  const [char, ...others] = text;
  if (first === undefined) return char === undefined;
  if (first === "%") return naive(rest, text) || (char !== undefined && naive(pattern, others));
  if (char === undefined) return false;
  const [literal, after] = first === "\\" ? [rest[0], rest.slice(1)] : [first === "_" ? char : first, rest];
  return literal === char && naive(after, others);
}

describe("compileLike", () => {
  it("equals the plain reading", () => {
    const texts = fc.array(fc.constantFrom("a", "b", "%", "_", "\\", "\u{1f600}"), { maxLength: 8 });
    const patterns = fc
      .array(fc.constantFrom("a", "b", "%", "_", "\\%", "\\_", "\\\\", "\u{1f600}"), { maxLength: 8 })
      .map((parts) => parts.join(""));
    fc.assert(
      fc.property(patterns, texts, (pattern, text) => {
        expect(matches(pattern, text.join(""))).toBe(naive(Array.from(pattern), text));
      }),
      { numRuns: 2_000 },
    );
  });

  it("takes patterns of more than one word of places", () => {
    const long = "abcdefghij".repeat(10);
    expect(matches(long, long)).toBe(true);
    expect(matches(long, `${long}x`)).toBe(false);
    expect(matches(`%${long}`, `x${long}`)).toBe(true);
    expect(matches(`${"_".repeat(64)}%z`, `${"a".repeat(64)}z`)).toBe(true);
    expect(matches(`${"_".repeat(64)}%z`, `${"a".repeat(62)}z`)).toBe(false);
  });

  it("folds case for ilike, beyond ASCII too", () => {
    expect(matches("ÀB%", "àbc", true)).toBe(true);
    expect(matches("ÀB%", "àbc")).toBe(false);
  });

  it("refuses a lone backslash at the end, and patterns that are too long", () => {
    expect(() => matches("a\\", "a")).toThrow(new LikePatternError("escape"));
    expect(() => matches("a".repeat(1_001), "a")).toThrow(new LikePatternError("length"));
  });

  it("is as quick on patterns that are made to be slow", () => {
    const text = "a".repeat(300_000);
    const started = performance.now();
    expect(matches(`%${"a_".repeat(400)}b%`, text)).toBe(false);
    expect(matches("%a".repeat(400), text)).toBe(true);
    expect(performance.now() - started).toBeLessThan(2_000);
  });
});
