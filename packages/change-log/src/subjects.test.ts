import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { messageRelation } from "./batch.ts";
import { changeSubject, changeSubjects, streamName } from "./subjects.ts";

const names = fc.string({ unit: "grapheme", minLength: 1 });

describe("subjects", () => {
  it("name the source, the schema and the table", () => {
    expect(changeSubject("default", { relation: { oid: 1, schema: "public", table: "todos" } })).toBe(
      "walcast.default.changes.public.todos",
    );
    expect(changeSubjects("default")).toBe("walcast.default.changes.>");
    expect(streamName("default")).toBe("WALCAST_default");
  });

  it("encode what a token may not hold", () => {
    expect(changeSubject("a b", { relation: { oid: 1, schema: "x.y", table: "*>%é🎈" } })).toBe(
      "walcast.a%20b.changes.x%2Ey.%2A%3E%25%C3%A9%F0%9F%8E%88",
    );
    expect(streamName("a.b")).toBe("WALCAST_a=2Eb");
  });

  it("have five tokens, and can be turned back into the names", () => {
    fc.assert(
      fc.property(names, names, names, (source, schema, table) => {
        const tokens = changeSubject(source, { relation: { oid: 1, schema, table } }).split(".");
        expect(tokens).toHaveLength(5);
        expect(tokens.every((token) => /^[\w%-]+$/.test(token))).toBe(true);
        expect([1, 3, 4].map((index) => decodeURIComponent(tokens[index] ?? ""))).toEqual([source, schema, table]);
      }),
    );
  });

  it("of a stream differ for sources that differ, and are a name that NATS takes", () => {
    fc.assert(
      fc.property(names, names, (one, other) => {
        expect(streamName(one) === streamName(other)).toBe(one === other);
        expect(streamName(one)).toMatch(/^[\w=-]+$/);
      }),
    );
  });

  it.each([
    ["no table", { relation: messageRelation }],
    ["several tables", { relation: { oid: 1, schema: "public", table: "todos" }, isMixed: true }],
  ])("of what belongs to %s are in the stream, and are no table's", (_, matter) => {
    const subject = changeSubject("a b", matter);
    expect(subject.startsWith(changeSubjects("a b").slice(0, -1))).toBe(true);
    expect(subject.split(".")).toHaveLength(4);
  });
});
