import { describe, expect, it } from "vitest";
import { RegexSyntaxError } from "./regex-syntax.ts";
import { compileRegex } from "./regex.ts";

const test = (pattern: string, text: string): boolean => compileRegex(pattern, { ignoreCase: false }).test(text);

describe("compileRegex", () => {
  it.each([
    ["***=a.b", "xa.by", true],
    ["***=a.b", "axb", false],
    ["***:a.b", "axb", true],
    ["(?i)ABC", "abc", true],
    ["(?ic)ABC", "abc", false],
    ["(?s)a.b", "a\nb", true],
    [String.raw`\mfoo\M`, "a foo b", true],
    [String.raw`\mfoo\M`, "afoo", false],
    ["[[:<:]]foo[[:>:]]", "a foo b", true],
    [String.raw`a\Bb`, "a\\b", true],
    [String.raw`\u00e9\w\U0001F600`, "éß😀", true],
    [String.raw`\x41\0?\cA?$`, "A", true],
    ["[^[:alpha:]]", "éß", false],
    ["^.$", "\u{1f600}", true],
    ["a$", "a\n", false],
    ["x{3}y{0,2}", "xxxyy", true],
  ])("%s finds in %j: %s", (pattern, text, expected) => {
    expect(test(pattern, text)).toBe(expected);
  });

  it.each([
    ["*a", "quantifier operand invalid"],
    ["a**", "quantifier operand invalid"],
    ["^*", "quantifier operand invalid"],
    ["***a", "quantifier operand invalid"],
    ["(a", "parentheses () not balanced"],
    ["a)", "parentheses () not balanced"],
    ["[a", "brackets [] not balanced"],
    ["[b-a]", "invalid character range"],
    ["[[:nope:]]", "invalid character class"],
    ["a{256}", "invalid repetition count(s)"],
    ["a{2,1}", "invalid repetition count(s)"],
    ["a\\", "invalid escape \\ sequence"],
    [String.raw`\p{L}`, "invalid escape \\ sequence"],
    [String.raw`(a)\1`, "back-references are not supported"],
    ["a(?=b)", "look-around and embedded options are not supported"],
    ["a(?i)b", "look-around and embedded options are not supported"],
    ["(?n)a", "embedded option n is not supported"],
    [String.raw`\m.`, "\\m next to anything but a letter or digit is not supported"],
    ["[[=a=]]", "collating elements and equivalence classes are not supported"],
    [String.raw`[\W]`, "\\W inside of brackets is not supported"],
    ["a{255}", "regular expression is too complex"],
    ["((a{100}){100}){100}", "regular expression is too complex"],
    ["a".repeat(1_001), "regular expression is too complex"],
  ])("refuses %s", (pattern, message) => {
    expect(() => test(pattern, "")).toThrow(new RegexSyntaxError(message));
  });

  it("is as quick on patterns that are made to be slow", () => {
    const text = "a".repeat(100_000);
    const started = performance.now();
    for (const pattern of ["(a+)+b", "(a|a)*b", "(a*)*b", "(.*a){3}b", "^(([a-z])+.)+[A-Z]([a-z])+$"]) {
      expect(test(pattern, text)).toBe(false);
    }
    expect(performance.now() - started).toBeLessThan(2_000); // backtracking would take longer than anyone lives
  });

  it("says how many steps it needs at most", () => {
    const regex = compileRegex("[ab]{50}", { ignoreCase: false });
    expect(regex.steps("a".repeat(1_000))).toBe(1_000 * regex.steps("a"));
    expect(regex.steps("a")).toBeGreaterThan(50);
  });
});
