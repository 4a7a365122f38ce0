import { expect, it } from "vitest";
import { writeComposite } from "./composite-writer.ts";
import { JsonBuffer } from "./json-buffer.ts";
import { toBytes, toText } from "./text.ts";

function written(text: string, names: readonly string[]): unknown {
  const out = new JsonBuffer();
  out.ascii("[");
  const attributes = names.map((name) => ({
    name,
    write: (to: JsonBuffer, source: Uint8Array, start: number, end: number) => to.string(source, start, end),
  }));
  const source = toBytes(`before${text}behind`);
  writeComposite({ out, source, attributes }, 6, 6 + toBytes(text).length);
  out.ascii("]");
  const bytes = out.toBytes();
  return (JSON.parse(toText(bytes, 0, bytes.length)) as unknown[])[0];
}

it.each([
  ["(x,y)", ["a", "b"], { a: "x", b: "y" }],
  ['("x, ""y"")",)', ["a", "b"], { a: 'x, "y")', b: null }],
  ["()", ["a"], { a: null }],
  ["()", [], {}],
])("%s of type (%s) is %j", (text, names, json) => {
  expect(written(text, names)).toEqual(json);
});

it.each([
  ["(x,y)", ["a", "b", "c"]],
  ["(x,y,z)", ["a", "b"]],
  ['("x,y",z)', ["a"]],
  ["(x)", []],
  ["()", ["a", "b"]],
])("%s of a type that was (%s) is its text", (text, names) => {
  expect(written(text, names)).toBe(text);
});
