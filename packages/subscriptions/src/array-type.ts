import { parseArrayLiteral, type ArrayElement } from "./array-literal.ts";
import type { Comparable, ComparableType } from "./comparable.ts";

/** Elements in the form of their type, with their kind: a bigint is not JSON. */
type Canonical = null | readonly [kind: string, text: string] | readonly Canonical[];

/**
 * Arrays of a type. A filter writes PostgreSQL's literal (`{1,2}`), a record carries a JSON array; both become one canonical
 * text. They order as PostgreSQL orders them: element by element, null last, then by length, then by their dimensions.
 */
export function arrayType(element: ComparableType): ComparableType {
  const name = `${element.printed}[]`;
  const canonical = (
    elements: readonly ArrayElement[],
    read: (text: string) => Comparable | undefined,
  ): Canonical[] | undefined => {
    const list: Canonical[] = [];
    for (const one of elements) {
      const value = one === null ? null : typeof one === "string" ? encode(read(one)) : canonical(one, read);
      if (value === undefined) return undefined;
      list.push(value);
    }
    return list;
  };
  const print = (list: Canonical[] | undefined): string | undefined =>
    list === undefined ? undefined : JSON.stringify(list);
  return {
    label: name,
    printed: name,
    kind: "other",
    parse(text) {
      const elements = parseArrayLiteral(text);
      return elements === undefined ? undefined : print(canonical(elements, (one) => element.parse(one)));
    },
    read(text) {
      const elements = readJsonArray(text);
      return elements === undefined ? undefined : print(canonical(elements, (one) => element.read(one)));
    },
    compare(a, b) {
      const [left, right] = [JSON.parse(String(a)) as Canonical[], JSON.parse(String(b)) as Canonical[]];
      return compareLists(flat(left), flat(right), element) || compareShapes(left, right);
    },
    refusal: (text) => `22P02 (invalid_text_representation) malformed array literal: "${text}"`,
  };
}

const encode = (value: Comparable | undefined): Canonical | undefined =>
  value === undefined ? undefined : [typeof value, String(value)];

function decode([kind, text]: readonly [string, string]): Comparable {
  if (kind === "bigint") return BigInt(text);
  if (kind === "number") return Number(text);
  return kind === "boolean" ? text === "true" : text;
}

const isElement = (value: Canonical): value is null | readonly [string, string] =>
  value === null || typeof value[0] === "string";
const flat = (list: readonly Canonical[]): (Comparable | null)[] =>
  list.flatMap((one) => (isElement(one) ? [one === null ? null : decode(one)] : flat(one)));

function compareLists(
  a: readonly (Comparable | null)[],
  b: readonly (Comparable | null)[],
  element: ComparableType,
): number {
  for (const [i, left] of a.entries()) {
    const right = b[i];
    if (right === undefined) return 1;
    if (left === null || right === null) {
      if (left !== right) return left === null ? 1 : -1;
      continue;
    }
    const order = element.compare(left, right);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

/** How many elements each dimension has. */
function shapeOf(list: readonly Canonical[]): number[] {
  const [first] = list;
  if (first === undefined) return [];
  return [list.length, ...(isElement(first) ? [] : shapeOf(first))];
}

function compareShapes(a: readonly Canonical[], b: readonly Canonical[]): number {
  const [left, right] = [shapeOf(a), shapeOf(b)];
  if (left.length !== right.length) return left.length - right.length;
  return left.map((size, i) => size - (right[i] ?? 0)).find((order) => order !== 0) ?? 0;
}

/** A JSON array's elements as their texts; objects and numbers keep the text they have. */
function readJsonArray(text: string): ArrayElement[] | undefined {
  const revive = (_key: string, value: unknown, context: { readonly source?: string }): unknown =>
    typeof value === "number" || typeof value === "boolean" ? (context.source ?? String(value)) : value;
  const toElement = (value: unknown): ArrayElement => {
    if (Array.isArray(value)) return value.map(toElement);
    return typeof value === "string" || value === null ? value : JSON.stringify(value);
  };
  try {
    const parsed: unknown = JSON.parse(text, revive as (key: string, value: unknown) => unknown);
    return Array.isArray(parsed) ? parsed.map(toElement) : undefined;
  } catch {
    return undefined;
  }
}
