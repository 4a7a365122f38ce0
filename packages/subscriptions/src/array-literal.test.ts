import { expect, it } from "vitest";
import { parseArrayLiteral } from "./array-literal.ts";

it.each([
  ["{}", []],
  ["{ }", []],
  [" {1, 2 } ", ["1", "2"]],
  ['{"a,b", "", "NULL", NULL, null}', ["a,b", "", "NULL", null, null]],
  [String.raw`{a\,b,\NULL,"a\"b", c\ }`, ["a,b", "NULL", 'a"b', "c "]],
  [
    "{{1,2},{3,NULL}}",
    [
      ["1", "2"],
      ["3", null],
    ],
  ],
  ["", undefined],
  ["1", undefined],
  ["{1", undefined],
  ["{1,}", undefined],
  ["{,1}", undefined],
  ["{1}}", undefined],
  ['{"a"b}', undefined],
  ['{a"b"}', undefined],
  [`${"{".repeat(7)}${"}".repeat(7)}`, undefined],
])("the array literal %s", (text, expected) => {
  expect(parseArrayLiteral(text)).toEqual(expected);
});
