import { describe, expect, it } from "vitest";
import { compileName, toLikePattern } from "./name-pattern.ts";

describe("a name", () => {
  it.each([
    ["*", "anything", true],
    ["todos", "todos", true],
    ["todos", "Todos", false],
    ["user_roles", "user_roles", true],
    ["user_roles", "userXroles", false],
    ["log%", "log_2024", true],
    ["log_%", "log_2024", true],
    ["log_%", "logs2024", false],
    ["a*", "ab", false],
    [`%${"a".repeat(300)}`, "a".repeat(300), false],
  ])("%s stands for %s: %s", (name, candidate, expected) => {
    expect(compileName(name)(candidate)).toBe(expected);
  });

  it.each([
    ["*", "%"],
    ["a_b", "a\\_b"],
    ["a_%", "a\\_%"],
    ["a\\b", "a\\\\b"],
  ])("%s is %s to PostgreSQL", (name, pattern) => {
    expect(toLikePattern(name)).toBe(pattern);
  });
});
