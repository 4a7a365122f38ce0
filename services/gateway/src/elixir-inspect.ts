import { isObject } from "@walcast/protocol";

/** A JSON value as Elixir's `inspect/1` prints it: error messages of the peer hold such terms (protocol.md 4.7). */
export function inspectTerm(value: unknown): string {
  if (value === null || value === undefined) return "nil";
  if (Array.isArray(value)) return `[${value.map((item) => inspectTerm(item)).join(", ")}]`;
  if (isObject(value)) {
    const entries = Object.keys(value)
      .toSorted()
      .map((key) => `${JSON.stringify(key)} => ${inspectTerm(value[key])}`);
    return `%{${entries.join(", ")}}`;
  }
  return JSON.stringify(value);
}
