import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RecordReader } from "./record-reader.ts";
import { shapeOf, type TableShape } from "./table-shape.ts";

const shapeWith = (names: readonly string[], type = "text"): TableShape =>
  shapeOf(names.map((name) => ({ name, type, typeOid: 0, typeModifier: -1, isKey: false })));

/** Reads by name, as no code has to. */
function read(json: string | Buffer, names: readonly string[]): (name: string) => string | null | undefined {
  const shape = shapeWith(names);
  const reader = new RecordReader(Buffer.from(json), shape);
  return (name) => reader.text(shape.byName.get(name)?.index ?? -1);
}

/** What `text` says of a value that JSON.parse read. */
const textOf = (value: unknown): string | null =>
  value === null ? null : typeof value === "string" ? value : JSON.stringify(value);

const names = fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("id", "a b", 'a"b', "a\\b", "__proto__", ""));
const records = fc.dictionary(names, fc.jsonValue({ noUnicodeString: false }), { noNullPrototype: false });
/** Values that are long enough for every way of stepping over them. */
const longRecords = fc.dictionary(
  names,
  fc
    .array(fc.constantFrom("\\", '"', "a", '\\"', "abcdefghijklmnopqrstuvwxyz".repeat(3)))
    .map((parts) => parts.join("")),
  { noNullPrototype: false },
);

describe("RecordReader", () => {
  it("finds the value of every key, in any order of asking", () => {
    fc.assert(
      fc.property(fc.oneof(records, longRecords), fc.infiniteStream(fc.nat()), names, (values, random, stranger) => {
        const text = JSON.stringify(values);
        const parsed = new Map(Object.entries(JSON.parse(text) as Record<string, unknown>));
        const shuffled = [...parsed.keys()].map((name) => ({ name, order: random.next().value }));
        shuffled.sort((a, b) => Number(a.order) - Number(b.order));
        const columns = shuffled.map(({ name }) => name);
        if (!parsed.has(stranger)) columns.push(stranger);
        const readText = read(text, columns);
        for (const { name } of shuffled.toReversed()) expect(readText(name)).toBe(textOf(parsed.get(name)));
        if (!parsed.has(stranger)) expect(readText(stranger)).toBeUndefined();
      }),
    );
  });

  it("steps over keys that the table does not have any more", () => {
    const text = read('{"old":[1,2],"id":7,"older":"\\"","name":"x"}', ["id", "name"]);
    expect([text("name"), text("id")]).toEqual(["x", "7"]);
  });

  it("keeps the digits of numbers", () => {
    const text = read('{"big":9007199254740993,"price":1.50,"float":1e+20}', ["big", "price", "float"]);
    expect(["price", "big", "float"].map((name) => text(name))).toEqual(["1.50", "9007199254740993", "1e+20"]);
  });

  it("passes over braces, commas and quotes inside of strings", () => {
    const text = read(String.raw`{"a":"},\"b\":1,[{","b":[{"c":"]}"},"x"],"c":2}`, ["a", "b", "c"]);
    expect([text("c"), text("b"), text("a")]).toEqual(["2", '[{"c":"]}"},"x"]', '},"b":1,[{']);
  });

  it("tells null from absent", () => {
    const text = read('{"a":null,"b":"null"}', ["a", "b", "c"]);
    expect([text("a"), text("b"), text("c")]).toEqual([null, "null", undefined]);
    expect(read("{}", ["a"])("a")).toBeUndefined();
  });

  it("reads a record that is a view into a batch", () => {
    const batch = Buffer.from('I\t{"id":7,"a":"x"}\nI\t{"id":8,"a":"y"}\n');
    const text = read(batch.subarray(2, 18), ["id", "a", "b"]);
    expect([text("a"), text("id"), text("b")]).toEqual(["x", "7", undefined]);
  });

  it("gives a JSON column as it is", () => {
    const shape = shapeWith(["doc", "id"], "jsonb");
    const reader = new RecordReader(Buffer.from('{"doc": {"a": 1} ,"id":"x"}'), shape);
    expect([reader.text(0)?.trim(), reader.text(1)]).toEqual(['{"a": 1}', '"x"']);
  });
});

describe("a projection", () => {
  it("is what JSON.stringify gives of the chosen keys, with every digit", () => {
    fc.assert(
      fc.property(fc.oneof(records, longRecords), fc.infiniteStream(fc.boolean()), (values, random) => {
        const keys = Object.keys(values);
        const chosen = keys.filter(() => random.next().value);
        const reader = new RecordReader(Buffer.from(JSON.stringify(values)), shapeWith(keys));
        const projected = reader.project(chosen.map((key) => keys.indexOf(key))).toString();
        const expected = chosen.map((key) => `${JSON.stringify(key)}:${JSON.stringify(values[key])}`).join(",");
        expect(projected).toBe(`{${expected}}`);
      }),
    );
    const reader = new RecordReader(
      Buffer.from('{"a":1.50,"b":9007199254740993,"c":"x"}'),
      shapeWith(["a", "b", "c", "d"]),
    );
    expect(reader.project([0, 1, 3]).toString()).toBe('{"a":1.50,"b":9007199254740993}');
    expect(reader.project([3]).toString()).toBe("{}");
  });

  it("knows how long texts are", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.integer(), (text, number) => {
        const reader = new RecordReader(
          Buffer.from(JSON.stringify({ text, number })),
          shapeWith(["text", "number", "no"]),
        );
        expect([0, 1, 2].map((index) => reader.textBytes(index))).toEqual([
          Buffer.byteLength(text),
          String(number).length,
          undefined,
        ]);
      }),
    );
  });
});
