import type { Column } from "@walcast/model";
import { describe, expect, it } from "vitest";
import { compileCondition, FilterTypeError, holds } from "./compiled-condition.ts";
import { parseFilter } from "./filter.ts";
import { RecordReader } from "./record-reader.ts";

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
];

const matches = (filter: string, record: Record<string, unknown> | string): boolean => {
  const reader = new RecordReader(Buffer.from(typeof record === "string" ? record : JSON.stringify(record)));
  return parseFilter(filter).every((condition) => holds(compileCondition(condition, columns), reader));
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
  ])("%s of %s is %s", (filter, record, expected) => {
    expect(matches(filter, record)).toBe(expected);
  });

  it.each(["eq", "neq", "lt", "lte", "gt", "gte"])(
    "with %s never holds of null or of what is absent, negated or not",
    (operator) => {
      for (const filter of [`id=${operator}.1`, `id=not.${operator}.1`]) {
        expect(matches(filter, { id: null })).toBe(false);
        expect(matches(filter, {})).toBe(false);
      }
      expect(matches("id=not.in.(1)", { id: null })).toBe(false);
    },
  );

  it("holds only together with the others", () => {
    expect(matches("id=gt.1,id=lt.5", { id: 3 })).toBe(true);
    expect(matches("id=gt.1,id=lt.5", { id: 5 })).toBe(false);
  });
});

describe("compileCondition", () => {
  it.each([
    ["missing=eq.1", "ERROR P0001 (raise_exception) invalid column for filter missing"],
    ["id=eq.x", 'ERROR 22P02 (invalid_text_representation) invalid input syntax for type bigint: "x"'],
    ["n=gt.", 'ERROR 22P02 (invalid_text_representation) invalid input syntax for type numeric: ""'],
    ["d=in.(1,x)", 'ERROR 22P02 (invalid_text_representation) invalid input syntax for type integer: "x"'],
    [
      "at=eq.then",
      'ERROR 22P02 (invalid_text_representation) invalid input syntax for type timestamp with time zone: "then"',
    ],
  ])("refuses %s", (filter, message) => {
    const [condition] = parseFilter(filter);
    expect(() => condition && compileCondition(condition, columns)).toThrow(new FilterTypeError(message));
  });
});
