import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FilterSyntaxError, parseFilter, type Condition, type Operator } from "./filter.ts";

const condition = (column: string, operator: Operator, value: string, isNegated = false): Condition => ({
  tag: "condition",
  column,
  operator,
  isNegated,
  value,
});

describe("parseFilter", () => {
  it.each(["eq", "neq", "lt", "lte", "gt", "gte", "like", "ilike", "is", "match", "imatch", "isdistinct"] as const)(
    "reads %s, negated or not",
    (operator) => {
      expect(parseFilter(`id=${operator}.5`)).toEqual([condition("id", operator, "5")]);
      expect(parseFilter(`id=not.${operator}.5`)).toEqual([condition("id", operator, "5", true)]);
    },
  );

  it.each([
    ["nothing", "", []],
    ["blanks", "  \t ", []],
    ["blanks around", "  id=eq.5 ", [condition("id", "eq", "5")]],
    ["a value with dots", "a=eq.1.2.3", [condition("a", "eq", "1.2.3")]],
    ["a value with equals signs", "a=eq.b=c=eq.d", [condition("a", "eq", "b=c=eq.d")]],
    ["an empty value", "a=eq.", [condition("a", "eq", "")]],
    ["blanks inside of a value", "a=eq.b  c", [condition("a", "eq", "b  c")]],
    ["a column with a blank", "a b=eq.1", [condition("a b", "eq", "1")]],
    ["a value that looks negated", "a=eq.not.b", [condition("a", "eq", "not.b")]],
    [
      "several conditions",
      "a=eq.1, b=gt.2,c=not.lt.3",
      [condition("a", "eq", "1"), condition("b", "gt", "2"), condition("c", "lt", "3", true)],
    ],
    ["a quoted value", 'a=eq."x,y"', [condition("a", "eq", "x,y")]],
    ["escapes in a quoted value", String.raw`a=eq."x\"y\\z\w"`, [condition("a", "eq", String.raw`x"y\zw`)]],
    ["an empty quoted value", 'a=eq.""', [condition("a", "eq", "")]],
    ["a quote that opens too late", 'a=eq.x"y', [condition("a", "eq", 'x"y')]],
    ["parentheses in a value", "a=eq.f(x,y)", [condition("a", "eq", "f(x,y)")]],
    ["a list", "a=in.(1,2,3)", [condition("a", "in", "{1,2,3}")]],
    ["a negated list", "a=not.in.(1)", [condition("a", "in", "{1}", true)]],
    ["an empty list", "a=in.()", [condition("a", "in", "{}")]],
    ["blanks in a list", "a=in.( 1 , 2 )", [condition("a", "in", "{ 1 , 2 }")]],
    ["quotes in a list", 'a=in.("x,y",z,"(")', [condition("a", "in", '{"x,y",z,"("}')]],
    [
      "a list before another condition",
      "a=in.(1,2),b=eq.3",
      [condition("a", "in", "{1,2}"), condition("b", "eq", "3")],
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
    ["foo=LIKE.%a%", '["foo", "LIKE.%a%"]'],
    ["foo=not.not.eq.1", '["foo", "not.eq.1"]'],
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
    ["or=(a.eq.1", '["or", "(a.eq.1"]'],
    ["or=a.eq.1", '["or", "a.eq.1"]'],
    ["or=()", empty],
    ["or=(a.eq.1,)", empty],
    ["or=(a.eq)", '["a.eq"]'],
    ["or=(a=eq.1)", '["a=eq.1"]'],
    ["or=(and())", empty],
    [`${"or=(".padEnd(4)}${"and(".repeat(8)}a.eq.1${")".repeat(9)}`, "groups are nested too deeply. Maximum 8"],
    [Array.from({ length: 101 }, () => "a=eq.1").join(","), "too many conditions in a filter. Maximum 100"],
  ])("refuses %s", (text, detail) => {
    expect(() => parseFilter(text)).toThrow(new FilterSyntaxError(`Error parsing \`filter\` params: ${detail}`));
  });

  it("reads scalars that a program quotes, whatever they are", () => {
    const quote = (text: string): string => `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "grapheme" }), { minLength: 1, maxLength: 8 }), (values) => {
        const filter = values.map((value) => `c=eq.${quote(value)}`).join(",");
        expect(parseFilter(filter)).toEqual(values.map((value) => condition("c", "eq", value)));
        const group = `or=(${values.map((value) => `c.eq.${quote(value)}`).join(",")})`;
        expect(parseFilter(group)).toMatchObject([{ terms: values.map((value) => condition("c", "eq", value)) }]);
      }),
    );
  });

  it("reads groups, nested and negated", () => {
    const text = '(a.eq.1,not.b.is.null,b.not.in.(1,2),"c.d".like.x%,and(e.gt.1,not.or(f.lt.2,g.eq.f(x,y))))';
    const or = (isNegated: boolean, terms: unknown[], text: string) => ({ tag: "or", isNegated, terms, text });
    expect(parseFilter(`or=${text},h=eq.1`)).toEqual([
      or(
        false,
        [
          condition("a", "eq", "1"),
          condition("b", "is", "null", true),
          condition("b", "in", "{1,2}", true),
          condition("c.d", "like", "x%"),
          {
            tag: "and",
            isNegated: false,
            text: "(e.gt.1,not.or(f.lt.2,g.eq.f(x,y)))",
            terms: [
              condition("e", "gt", "1"),
              or(true, [condition("f", "lt", "2"), condition("g", "eq", "f(x,y)")], "(f.lt.2,g.eq.f(x,y))"),
            ],
          },
        ],
        text,
      ),
      condition("h", "eq", "1"),
    ]);
    expect(parseFilter("not.and=(a.eq.1)")).toMatchObject([{ tag: "and", isNegated: true }]);
  });

  it("takes columns called or, and, not", () => {
    expect(parseFilter("or=eq.1,and=in.(1),not=is.null")).toEqual([
      condition("or", "eq", "1"),
      condition("and", "in", "{1}"),
      condition("not", "is", "null"),
    ]);
    expect(parseFilter("or=(not.eq.1)")).toMatchObject([{ terms: [condition("not", "eq", "1")] }]);
  });

  it("keeps paths as the columns' names", () => {
    expect(parseFilter("data->a->>b=eq.x,or=(data->>k.eq.1)")).toMatchObject([
      condition("data->a->>b", "eq", "x"),
      { terms: [condition("data->>k", "eq", "1")] },
    ]);
  });

  it("gives conditions or a FilterSyntaxError for any text", () => {
    const pieces = fc.constantFrom(
      "id",
      "=",
      "eq",
      ".",
      "not",
      "in",
      "or",
      "and",
      "(",
      ")",
      ",",
      '"',
      "\\",
      " ",
      "1",
      "->",
    );
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
