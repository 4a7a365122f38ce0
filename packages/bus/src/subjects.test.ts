import { changeSubjects, leaderSubject } from "@walcast/change-log";
import { describe, expect, it } from "vitest";
import { addressSubject } from "./subjects.ts";

const subject = (topic: string, source = "default"): string => addressSubject(source, { kind: "broadcast", topic });

describe("addressSubject", () => {
  it.each([
    ["room", "walcast.default.broadcast.room"],
    ["public:room 1", "walcast.default.broadcast.public%3Aroom%201"],
    ["a.b.*.>", "walcast.default.broadcast.a%2Eb%2E%2A%2E%3E"],
    ["ü$", "walcast.default.broadcast.%C3%BC%24"],
  ])("encodes %s", (topic, expected) => {
    expect(subject(topic)).toBe(expected);
  });

  it("is short for topics that are long, and differs where they do", () => {
    const [one, two] = [subject(`${"é".repeat(5_000)}1`), subject(`${"é".repeat(5_000)}2`)];
    expect(one).toMatch(/^walcast\.default\.broadcast\.\$[A-Za-z0-9_-]{43}$/);
    expect(two).not.toBe(one);
    expect(subject("a".repeat(200))).toBe(`walcast.default.broadcast.${"a".repeat(200)}`);
    expect(subject("a".repeat(201))).toMatch(/\.\$[A-Za-z0-9_-]{43}$/);
    expect(subject("")).toMatch(/\.\$[A-Za-z0-9_-]{43}$/);
  });

  it("is beside the change log's subjects of the same source", () => {
    for (const source of ["default", "my source", "a.b"]) {
      const log = changeSubjects(source);
      const prefix = log.slice(0, log.indexOf("changes.>"));
      for (const topic of ["changes", "x", "", "leader"]) {
        expect(subject(topic, source).startsWith(`${prefix}broadcast.`)).toBe(true);
        expect(subject(topic, source)).not.toBe(leaderSubject(source));
      }
    }
  });
});
