import type { Comparable } from "./comparable.ts";
import { compareDecimals, parseDecimal } from "./numbers.ts";

/** JSON with exact numbers: each in numeric's canonical form. Objects are lists of members, ordered as jsonb orders keys. */
type Json =
  | null
  | boolean
  | string
  | { readonly number: string }
  | { readonly members: readonly (readonly [string, Json])[] }
  | readonly Json[];

/** The value's canonical text: equal jsonb values have equal texts. `undefined` when the text is not JSON. */
export function parseJsonb(text: string): string | undefined {
  try {
    return JSON.stringify(JSON.parse(text, revive as (key: string, value: unknown) => unknown));
  } catch {
    return undefined;
  }
}

/** Objects become `{"members":[…]}` and numbers `{"number":"…"}`: inner values are revived before the outer ones. */
function revive(_key: string, value: unknown, context: { readonly source?: string }): Json {
  if (typeof value === "number") return { number: parseDecimal(context.source ?? String(value)) ?? "0" };
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value as Json;
  const members = Object.entries(value as Readonly<Record<string, Json>>);
  return { members: members.toSorted(([a], [b]) => compareKeys(a, b)) };
}

/** jsonb keeps shorter keys first, then by bytes. */
function compareKeys(a: string, b: string): number {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length - right.length || Buffer.compare(left, right);
}

/** jsonb's order (manual, "jsonb Indexing"): by kind, then by size, then by content. Both in canonical text. */
export function compareJson(a: Comparable, b: Comparable): number {
  return a === b ? 0 : compareValues(JSON.parse(String(a)) as Json, JSON.parse(String(b)) as Json, { isTop: true });
}

function compareValues(a: Json, b: Json, { isTop }: { readonly isTop: boolean }): number {
  const kinds = kindOf(a, isTop) - kindOf(b, isTop);
  if (kinds !== 0) return kinds;
  if (typeof a === "string" && typeof b === "string") return Buffer.compare(Buffer.from(a), Buffer.from(b));
  if (typeof a !== "object" || typeof b !== "object") return Number(a) - Number(b);
  if (a === null || b === null) return 0;
  if ("number" in a && "number" in b) return compareDecimals(a.number, b.number);
  const [left, right] = [partsOf(a), partsOf(b)];
  if (left.length !== right.length) return left.length - right.length;
  for (const [i, part] of left.entries()) {
    const order = compareValues(part, right[i] ?? null, { isTop: false });
    if (order !== 0) return order;
  }
  return 0;
}

/** Objects are greatest; an empty array at the top is least of all, which PostgreSQL keeps for history's sake. */
function kindOf(value: Json, isTop: boolean): number {
  if (value === null) return 0;
  if (typeof value === "string") return 1;
  if (typeof value === "boolean") return 3;
  if (Array.isArray(value)) return isTop && value.length === 0 ? -1 : 4;
  return "number" in value ? 2 : 5;
}

/** Keys and values in turn. */
function partsOf(value: Json): readonly Json[] {
  if (value !== null && typeof value === "object" && "members" in value)
    return value.members.flatMap(([key, member]) => [key, member]);
  return Array.isArray(value) ? (value as Json[]) : [];
}
