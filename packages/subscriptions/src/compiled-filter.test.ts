import type { Column } from "@walcast/model";
import { describe, expect, it } from "vitest";
import { compileFilter, passes } from "./compiled-filter.ts";
import { FilterTypeError } from "./filter-errors.ts";
import { withEnumOrders } from "./enum-orders.ts";
import { parseFilter } from "./filter.ts";
import { RecordReader } from "./record-reader.ts";
import { shapeOf } from "./table-shape.ts";

const column = (name: string, type: string, baseType?: string): Column => ({
  name,
  type,
  typeOid: 0,
  typeModifier: -1,
  isKey: false,
  ...(baseType === undefined ? {} : { baseType }),
});
const columns = [
  column("id", "int8"),
  column("n", "numeric"),
  column("t", "text"),
  column("c", "bpchar"),
  column("b", "bool"),
  column("at", "timestamptz"),
  column("d", "positive", "int4"),
  column("r", "float4"),
  column("j", "jsonb"),
  column("tags", "_text"),
  column("mail", "email", "text"),
];
const shape = shapeOf(columns);

const matches = (filter: string, record: Record<string, unknown> | string): boolean => {
  const reader = new RecordReader(Buffer.from(typeof record === "string" ? record : JSON.stringify(record)), shape);
  return passes(compileFilter(parseFilter(filter), shape), reader);
};

describe("a condition", () => {
  it.each([
    ["id=eq.9007199254740993", '{"id":9007199254740993}', true],
    ["id=eq.9007199254740993", '{"id":9007199254740992}', false],
    ["n=eq.1.5", '{"n":1.50}', true],
    ["n=gt.9", '{"n":10}', true],
    ["n=lt.9", '{"n":10}', false],
    ["t=gt.9", '{"t":"10"}', false],
    ["t=eq.a", '{"t":"a "}', false],
    ["c=eq.a", '{"c":"a    "}', true],
    ["b=eq.yes", '{"b":true}', true],
    ["b=neq.t", '{"b":false}', true],
    ["at=eq.2024-02-29 12:00+02", '{"at":"2024-02-29T10:00:00+00:00"}', true],
    ["at=lte.infinity", '{"at":"2024-02-29T10:00:00+00:00"}', true],
    ["at=gt.0044-03-15 BC", '{"at":"0045-03-15T10:00:00+00:00 BC"}', false],
    ["d=gte.7", '{"d":7}', true],
    ["r=eq.1.1", '{"r":1.1}', true],
    ["id=in.(1,2)", '{"id":2}', true],
    ["id=in.()", '{"id":2}', false],
    ["id=not.in.()", '{"id":2}', true],
    ["id=not.eq.2", '{"id":2}', false],
    ["id=not.gt.2", '{"id":2}', true],
    ["id=not.in.(1,NULL)", '{"id":2}', false],
    ["id=in.(2,NULL)", '{"id":2}', true],
    ["id=lt.NaN", '{"id":2}', "refused"],
    ["r=lt.Infinity", '{"r":1e38}', true],
    ["r=lt.NaN", '{"r":1.5}', true],
    ["t=like.a%b_", '{"t":"a long b!"}', true],
    ["t=ilike.A\\%", '{"t":"a%"}', true],
    ["t=match.^[ab]+$", '{"t":"abba"}', true],
    ["t=imatch.^[AB]+$", '{"t":"abba"}', true],
    ["mail=like.%@x.org", '{"mail":"me@x.org"}', true],
    ["t=isdistinct.a", '{"t":null}', true],
    ["t=not.isdistinct.a", '{"t":null}', false],
    ["t=not.isdistinct.a", '{"t":"a"}', true],
    ["b=is.true", '{"b":true}', true],
    ["b=is.unknown", '{"b":null}', true],
    ["b=not.is.true", '{"b":null}', true],
    ["t=is.null", '{"t":null}', true],
    ["t=not.is.null", '{"t":null}', false],
    ['tags=eq."{a,b}"', '{"tags":["a","b"]}', true],
    ["j->>a=eq.x", '{"j":{"a":"x"}}', true],
    ["j->a->0=eq.1.0", '{"j":{"a":[1]}}', true],
    ["or=(id.eq.1,t.eq.x)", '{"id":null,"t":"x"}', true],
    ["not.or=(id.eq.1,t.eq.x)", '{"id":null,"t":"y"}', false],
  ])("%s of %s is %s", (filter, record, expected) => {
    if (expected === "refused") expect(() => matches(filter, record)).toThrow(FilterTypeError);
    else expect(matches(filter, record)).toBe(expected);
  });

  it.each(["eq", "neq", "lt", "lte", "gt", "gte", "like", "ilike", "match", "imatch"])(
    "with %s never holds of null or of what is absent, negated or not",
    (operator) => {
      for (const filter of [`t=${operator}.1`, `t=not.${operator}.1`]) {
        expect(matches(filter, { t: null })).toBe(false);
        expect(matches(filter, {})).toBe(false);
      }
      expect(matches("id=not.in.(1)", { id: null })).toBe(false);
    },
  );

  it.each(["t=is.null", "t=not.is.null", "t=isdistinct.a", "t=not.isdistinct.a", "or=(t.is.null,t.not.is.null)"])(
    "never holds of what is absent: %s",
    (filter) => expect(matches(filter, { id: 1 })).toBe(false),
  );

  it("holds only together with the others", () => {
    expect(matches("id=gt.1,id=lt.5", { id: 3 })).toBe(true);
    expect(matches("id=gt.1,id=lt.5", { id: 5 })).toBe(false);
  });
});

describe("a condition on an enum", () => {
  const labels = ["sad", "ok", "happy"];
  const logged = { ...column("m", "inner_mood", "mood"), typeOid: 20_000 };
  const told = (filter: string, m: string | null, columns: readonly Column[] = [logged]): unknown => {
    const its = shapeOf(columns);
    const [term] = compileFilter(withEnumOrders(parseFilter(filter), [{ ...logged, labels }]), its);
    return term?.test(new RecordReader(Buffer.from(JSON.stringify({ m })), its));
  };

  it.each([
    ["m=lt.ok", true, false, false],
    ["m=lte.ok", true, true, false],
    ["m=gt.ok", false, false, true],
    ["m=gte.ok", false, true, true],
    ["m=not.gt.sad", true, false, false],
    ["or=(m.lt.ok,m.gt.ok)", true, false, true],
    ["m=neq.ok", true, false, true],
  ])("%s is by the labels' order", (filter, ...expected) => {
    expect(labels.map((label) => told(filter, label))).toEqual(expected);
  });

  it("does not know where null and younger labels stand", () => {
    for (const filter of ["m=lt.ok", "m=gte.sad", "m=not.lt.ok"]) {
      expect([told(filter, null), told(filter, "glad")]).toEqual([undefined, undefined]);
    }
    expect(told("m=neq.ok", "glad")).toBe(true);
  });

  it("is no longer as a key, however many labels there are", () => {
    const many = Array.from({ length: 1_000 }, (_, i) => `label ${i}`);
    const keyOf = (its: readonly string[], typeOid = 20_000): string =>
      JSON.stringify(withEnumOrders(parseFilter("m=lt.ok"), [{ ...logged, typeOid, labels: its }]));
    expect(keyOf(many)).toHaveLength(keyOf(labels).length);
    expect(keyOf([...many])).toBe(keyOf(many));
    expect(new Set([keyOf(labels), keyOf(labels.toReversed()), keyOf(labels, 20_001), keyOf(many)]).size).toBe(4);
  });

  it("is by label where nothing is ordered, also of younger ones, whether the columns list labels or not", () => {
    for (const columns of [[logged], [{ ...logged, labels }]]) {
      expect(["m=neq.ok", "m=not.eq.ok", "m=not.in.(ok)"].map((filter) => told(filter, "glad", columns))).toEqual([
        true,
        true,
        true,
      ]);
    }
  });

  it("is by label where the column is of another type by now", () => {
    expect(told("m=lt.ok", "happy", [{ ...logged, typeOid: 25 }])).toBe(true);
  });

  it.each(["eq.glad", "lt.glad", "in.(ok,glad)", "isdistinct.glad"])("refuses what is no label: %s", (test) => {
    const refusal = '22P02 (invalid_text_representation) invalid input value for enum mood: "glad"';
    const its = shapeOf([{ ...logged, labels }]);
    expect(() => compileFilter(parseFilter(`m=${test}`), its)).toThrow(new FilterTypeError(refusal));
  });
});

describe("compileFilter", () => {
  it.each([
    ["missing=eq.1", "P0001 (raise_exception) invalid column for filter missing"],
    ["or=(id.eq.1,missing.eq.1)", "P0001 (raise_exception) invalid column for filter missing"],
    ["t->>a=eq.1", "P0001 (raise_exception) invalid column for filter t->>a"],
    ["j->=eq.1", "P0001 (raise_exception) invalid column for filter j->"],
    ["j->>a->b=eq.1", "P0001 (raise_exception) invalid column for filter j->>a->b"],
    ["id=eq.x", '22P02 (invalid_text_representation) invalid input syntax for type bigint: "x"'],
    [
      "id=eq.9223372036854775808",
      '22003 (numeric_value_out_of_range) value "9223372036854775808" is out of range for type bigint',
    ],
    ["n=gt.", '22P02 (invalid_text_representation) invalid input syntax for type numeric: ""'],
    ["d=in.(1,x)", '22P02 (invalid_text_representation) invalid input syntax for type integer: "x"'],
    ["d=in.(1,,2)", '22P02 (invalid_text_representation) malformed array literal: "{1,,2}"'],
    ["at=eq.then", '22007 (invalid_datetime_format) invalid input syntax for type timestamp with time zone: "then"'],
    ["at=eq.2024-02-30", '22008 (datetime_field_overflow) date/time field value out of range: "2024-02-30"'],
    ["j->a=eq.x", "22P02 (invalid_text_representation) invalid input syntax for type json"],
    ["id=like.1%", "P0001 (raise_exception) operator like requires a text-compatible column type, got bigint"],
    [
      "at=imatch.1",
      "P0001 (raise_exception) operator imatch requires a text-compatible column type, got timestamp with time zone",
    ],
    ["j->a=ilike.1", "P0001 (raise_exception) operator ilike requires a text-compatible column type, got jsonb"],
    ["t=like.%\\", "22025 (invalid_escape_sequence) LIKE pattern must not end with escape character"],
    ["t=match.(", "P0001 (raise_exception) invalid regular expression for match filter: parentheses () not balanced"],
    [
      "t=imatch.(?=a)",
      "P0001 (raise_exception) invalid regular expression for imatch filter: look-around and embedded options are not supported",
    ],
    ["d=is.true", "P0001 (raise_exception) is true filter requires a boolean column, got positive"],
    ["id=is.unknown", "P0001 (raise_exception) is unknown filter requires a boolean column, got bigint"],
    ["id=is.nothing", "P0001 (raise_exception) invalid value for is filter: must be null, true, false, or unknown"],
    [
      `id=in.(${Array.from({ length: 101 }, (_, i) => i).join(",")})`,
      "P0001 (raise_exception) too many values for `in` filter. Maximum 100",
    ],
  ])("refuses %s", (filter, message) => {
    expect(() => compileFilter(parseFilter(filter), shape)).toThrow(new FilterTypeError(message));
  });

  it("takes a hundred values", () => {
    const values = Array.from({ length: 100 }, (_, index) => String(index));
    expect(matches(`id=in.(${values.join(",")})`, { id: 99 })).toBe(true);
  });

  it("takes a column whose name has arrows", () => {
    const odd = shapeOf([column("j->>a", "int4"), column("j", "jsonb")]);
    const reader = new RecordReader(Buffer.from('{"j->>a":7,"j":{"a":"x"}}'), odd);
    expect(passes(compileFilter(parseFilter("j->>a=eq.07"), odd), reader)).toBe(true);
  });
});

describe("regular expressions", () => {
  it("have no answer beyond a number of steps, which all of a filter's share", () => {
    const a = (length: number): { t: string } => ({ t: "a".repeat(length) });
    expect(matches("t=match.ab", { t: `${"a".repeat(500_000)}b` })).toBe(true);
    expect(matches("t=match.[ab]{50}", a(50_000))).toBe(true);
    expect(matches("t=match.[ab]{50}", a(1_000_000))).toBe(false);
    expect(matches("t=not.match.[xy]{50}", a(1_000_000))).toBe(false);
    expect(matches("t=match.[ab]{50},t=match.[ac]{50}", a(20_000))).toBe(true);
    expect(matches("t=match.[ab]{50},t=match.[ac]{50}", a(50_000))).toBe(false);
    expect(matches("or=(t.match.[bc]{50},and(t.match.[ac]{50},t.not.match.x))", a(50_000))).toBe(false);
  });
});
