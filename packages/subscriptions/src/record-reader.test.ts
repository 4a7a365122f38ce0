import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RecordReader } from "./record-reader.ts";

/** What `text` says of a value that JSON.parse read. */
const textOf = (value: unknown): string | null =>
  value === null ? null : typeof value === "string" ? value : JSON.stringify(value);

describe("RecordReader", () => {
  it("finds the value of every key, in any order of asking", () => {
    const keys = fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("id", "a b", 'a"b', "a\\b", "__proto__", ""));
    const records = fc.dictionary(keys, fc.jsonValue({ noUnicodeString: false }), { noNullPrototype: false });
    fc.assert(
      fc.property(records, fc.infiniteStream(fc.nat()), keys, (values, random, stranger) => {
        const text = JSON.stringify(values);
        const reader = new RecordReader(Buffer.from(text));
        const parsed = new Map(Object.entries(JSON.parse(text) as Record<string, unknown>));
        const names = [...parsed.keys()].map((name) => ({ name, order: random.next().value }));
        names.sort((a, b) => Number(a.order) - Number(b.order));
        for (const { name } of [...names, ...names]) expect(reader.text(name)).toBe(textOf(parsed.get(name)));
        if (!parsed.has(stranger)) expect(reader.text(stranger)).toBeUndefined();
      }),
    );
  });

  it("keeps the digits of numbers", () => {
    const reader = new RecordReader(Buffer.from('{"big":9007199254740993,"price":1.50,"float":1e+20}'));
    expect(["price", "big", "float"].map((column) => reader.text(column))).toEqual([
      "1.50",
      "9007199254740993",
      "1e+20",
    ]);
  });

  it("passes over braces, commas and quotes inside of strings", () => {
    const reader = new RecordReader(Buffer.from(String.raw`{"a":"},\"b\":1,[{","b":[{"c":"]}"},"x"],"c":2}`));
    expect(reader.text("c")).toBe("2");
    expect(reader.text("b")).toBe('[{"c":"]}"},"x"]');
    expect(reader.text("a")).toBe('},"b":1,[{');
  });

  it("tells null from absent", () => {
    const reader = new RecordReader(Buffer.from('{"a":null,"b":"null"}'));
    expect([reader.text("a"), reader.text("b"), reader.text("c")]).toEqual([null, "null", undefined]);
    expect(new RecordReader(Buffer.from("{}")).text("a")).toBeUndefined();
  });

  it("reads a record that is a view into a batch", () => {
    const batch = Buffer.from('I\t{"id":7,"a":"x"}\nI\t{"id":8,"a":"y"}\n');
    const reader = new RecordReader(batch.subarray(2, 18));
    expect([reader.text("a"), reader.text("id"), reader.text("b")]).toEqual(["x", "7", undefined]);
  });

  it("reads a json column whose text has spaces around", () => {
    const reader = new RecordReader(Buffer.from('{"doc": {"a": 1} ,"id":1}'));
    expect(reader.text("id")).toBe("1");
    expect(reader.text("doc")?.trim()).toBe('{"a": 1}');
  });
});
