import { describe, expect, it } from "vitest";
import { inspectTerm } from "./elixir-inspect.ts";

describe("inspectTerm", () => {
  it.each([
    [null, "nil"],
    [undefined, "nil"],
    [true, "true"],
    [7, "7"],
    ["a", '"a"'],
    ['q"\\', String.raw`"q\"\\"`],
    [[], "[]"],
    [[1, "a", null], '[1, "a", nil]'],
    [{}, "%{}"],
    [{ b: 1, a: { c: [false] } }, '%{"a" => %{"c" => [false]}, "b" => 1}'],
  ])("prints %j as Elixir does", (value, text) => {
    expect(inspectTerm(value)).toBe(text);
  });
});
