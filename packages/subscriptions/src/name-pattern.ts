import { compileLike } from "./like-pattern.ts";

// What a subscription's schema and table stand for. The peer compares names with LIKE, so that `_` in a name takes any
// character: `user_roles` would get the changes of `userXroles`. Here `_` is itself, `%` any text, and `*` alone everything.

/** PostgreSQL's names have at most 63 bytes. */
const lengthLimit = 200;

export const isNamePattern = (name: string): boolean => name === "*" || name.includes("%");

/** The same as a pattern of PostgreSQL's LIKE. */
export function toLikePattern(name: string): string {
  if (name === "*") return "%";
  const escaped = name.replaceAll(/[\\_]/g, String.raw`\$&`);
  return isNamePattern(name) ? escaped : escaped.replaceAll("%", String.raw`\%`);
}

export function compileName(name: string): (candidate: string) => boolean {
  if (name === "*") return () => true;
  if (!isNamePattern(name)) return (candidate) => candidate === name;
  return name.length > lengthLimit ? () => false : compileLike(toLikePattern(name), { ignoreCase: false });
}
