import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FilterSyntaxError, parseFilter, type Condition } from "./filter.ts";

const condition = (
  column: string,
  operator: Condition["operator"],
  values: readonly string[],
  isNegated = false,
): Condition => ({ column, operator, isNegated, values });

describe("parseFilter", () => {
  it.each(["eq", "neq", "lt", "lte", "gt", "gte"] as const)("reads %s, negated or not", (operator) => {
    expect(parseFilter(`id=${operator}.5`)).toEqual([condition("id", operator, ["5"])]);
    expect(parseFilter(`id=not.${operator}.5`)).toEqual([condition("id", operator, ["5"], true)]);
  });

  it.each([
    ["nothing", "", []],
    ["blanks", "  \t ", []],
    ["blanks around", "  id=eq.5 ", [condition("id", "eq", ["5"])]],
    ["a value with dots", "a=eq.1.2.3", [condition("a", "eq", ["1.2.3"])]],
    ["a value with equals signs", "a=eq.b=c=eq.d", [condition("a", "eq", ["b=c=eq.d"])]],
    ["an empty value", "a=eq.", [condition("a", "eq", [""])]],
    ["blanks inside of a value", "a=eq.b  c", [condition("a", "eq", ["b  c"])]],
    ["a column with a blank", "a b=eq.1", [condition("a b", "eq", ["1"])]],
    ["a value that looks negated", "a=eq.not.b", [condition("a", "eq", ["not.b"])]],
    [
      "several conditions",
      "a=eq.1, b=gt.2,c=not.lt.3",
      [condition("a", "eq", ["1"]), condition("b", "gt", ["2"]), condition("c", "lt", ["3"], true)],
    ],
    ["a quoted value", 'a=eq."x,y"', [condition("a", "eq", ["x,y"])]],
    ["escapes in a quoted value", String.raw`a=eq."x\"y\\z\w"`, [condition("a", "eq", [String.raw`x"y\zw`])]],
    ["an empty quoted value", 'a=eq.""', [condition("a", "eq", [""])]],
    ["a quote that opens too late", 'a=eq.x"y', [condition("a", "eq", ['x"y'])]],
    ["parentheses in a value", "a=eq.f(x,y)", [condition("a", "eq", ["f(x,y)"])]],
    ["a list", "a=in.(1,2,3)", [condition("a", "in", ["1", "2", "3"])]],
    ["a negated list", "a=not.in.(1)", [condition("a", "in", ["1"], true)]],
    ["an empty list", "a=in.()", [condition("a", "in", [])]],
    ["blanks in a list", "a=in.( 1 , 2 )", [condition("a", "in", ["1", "2"])]],
    ["quotes in a list", 'a=in.("x,y",z,"(")', [condition("a", "in", ["x,y", "z", "("])]],
    [
      "a list before another condition",
      "a=in.(1,2),b=eq.3",
      [condition("a", "in", ["1", "2"]), condition("b", "eq", ["3"])],
    ],
  ])("reads %s", (_, text, expected) => {
    expect(parseFilter(text)).toEqual(expected);
  });

  const wrapped = "`in` filter value must be wrapped by parentheses";
  const empty = "filter must not contain empty segments (check for extra commas)";
  it.each([
    ["wrong", '["wrong"]'],
    ["foo=hey", '["foo", "hey"]'],
    ["foo=hey.you", '["foo", "hey.you"]'],
    ["foo=EQ.1", '["foo", "EQ.1"]'],
    ["foo=like.%a%", '["foo", "like.%a%"]'],
    ["=eq.1", '["", "eq.1"]'],
    ["id=eq", '["id", "eq"]'],
    ['say="x"', String.raw`["say", "\"x\""]`],
    ["id=in.1,2", wrapped],
    ["id=in.1", wrapped],
    ["id=in.(1", wrapped],
    ["id=in.1)", wrapped],
    [",", empty],
    ["id=eq.1,", empty],
    [",id=eq.1", empty],
    ["id=eq.1,,id=eq.2", empty],
    ["id=eq.1, ,id=eq.2", empty],
    [`id=in.(${Array.from({ length: 101 }, (_, i) => i).join(",")})`, "too many values for `in` filter. Maximum 100"],
  ])("refuses %s", (text, detail) => {
    expect(() => parseFilter(text)).toThrow(new FilterSyntaxError(`Error parsing \`filter\` params: ${detail}`));
  });

  it("takes a hundred values", () => {
    const values = Array.from({ length: 100 }, (_, index) => String(index));
    expect(parseFilter(`id=in.(${values.join(",")})`)).toEqual([condition("id", "in", values)]);
  });

  it("reads what a program quotes, whatever the value is", () => {
    const quote = (text: string): string => `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
    const texts = fc.string({ unit: "grapheme" });
    fc.assert(
      fc.property(
        fc.array(fc.array(texts, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 4 }),
        (lists) => {
          const filter = lists.map((values) => `c=in.(${values.map(quote).join(",")})`).join(",");
          expect(parseFilter(filter)).toEqual(lists.map((values) => condition("c", "in", values)));
          const scalars = lists.flat().map((value) => `c=eq.${quote(value)}`);
          expect(parseFilter(scalars.join(","))).toEqual(lists.flat().map((value) => condition("c", "eq", [value])));
        },
      ),
    );
  });

  it("gives conditions or a FilterSyntaxError for any text", () => {
    const pieces = fc.constantFrom("id", "=", "eq", ".", "not", "in", "(", ")", ",", '"', "\\", " ", "1");
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(pieces).map((parts) => parts.join("")),
        ),
        (text) => {
          let failure: unknown;
          try {
            parseFilter(text);
          } catch (error) {
            failure = error;
          }
          expect(failure === undefined || failure instanceof FilterSyntaxError).toBe(true);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
