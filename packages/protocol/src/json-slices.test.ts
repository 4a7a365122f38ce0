import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { elementSlices, memberSlices } from "./json-slices.ts";

const parse = (text: string): unknown => JSON.parse(text);
/** As `JSON.stringify`, and with white space wherever there may be some. */
const spacious = (value: unknown): string => ` ${JSON.stringify(value, undefined, "\t \r")}\n`;
const texts = fc.constantFrom(JSON.stringify, spacious);

describe("memberSlices", () => {
  it("has each member as it is written", () => {
    const text = '{ "a" : 9007199254740993 , "b":{"c":[1.10,"]}\\"\\\\"]},"d\\n":"}","e":-1e400}';
    expect([...memberSlices(text)]).toEqual([
      ["a", "9007199254740993"],
      ["b", '{"c":[1.10,"]}\\"\\\\"]}'],
      ["d\n", '"}"'],
      ["e", "-1e400"],
    ]);
    expect(memberSlices("{}").size).toBe(0);
    expect(memberSlices('{"a":1,"\\u0061":2}').get("a")).toBe("2");
  });

  it("agrees with JSON.parse", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), texts, (value, print) => {
        const members = [...memberSlices(print(value))].map(([name, slice]) => [name, parse(slice)]);
        expect(members).toEqual(Object.entries(parse(print(value)) as object));
      }),
    );
  });
});

describe("elementSlices", () => {
  it("has each element as it is written", () => {
    expect(elementSlices('[ "1" ,null,"realtime:[",  "x", {"big":1.000000000000000000001} ]')).toEqual([
      '"1"',
      "null",
      '"realtime:["',
      '"x"',
      '{"big":1.000000000000000000001}',
    ]);
    expect(elementSlices(" [ ] ")).toEqual([]);
  });

  it("agrees with JSON.parse", () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), texts, (value, print) => {
        expect(elementSlices(print(value)).map(parse)).toEqual(parse(print(value)));
      }),
    );
  });
});
