import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatPart, parsePart, PartJoiner, type Part } from "./parts.ts";

const create = (limits: { limitBytes?: number; limitSenders?: number } = {}): PartJoiner =>
  new PartJoiner({ limitBytes: 1_000, limitSenders: 10, expiryMs: 100, ...limits });

/** `s 1 2/3` with what it carries. */
function add(joiner: PartJoiner, text: string, data: string, nowMs = 0): string | undefined {
  const part = parsePart(text);
  if (part === undefined) throw new Error(`${text} is no part`);
  const whole = joiner.add(part, Buffer.from(data), nowMs);
  return whole === undefined ? undefined : Buffer.from(whole).toString();
}

describe("a part's header", () => {
  it("reads as it was written", () => {
    const part: Part = { sender: "ab_-", message: 7, index: 2, count: 30 };
    expect(parsePart(formatPart(part))).toEqual(part);
  });

  it.each(["", "s 1 1", "s 1 1/", "s 1 -1/2", "s x 1/2", " 1 1/2", "s 1 1/2 3", `${"s".repeat(65)} 1 1/2`])(
    "is none: %j",
    (text) => {
      expect(parsePart(text)).toBeUndefined();
    },
  );
});

describe("PartJoiner", () => {
  it("joins the messages of several senders, whose parts come between each other", () => {
    const joiner = create();
    expect(add(joiner, "a 1 1/3", "a1 ")).toBeUndefined();
    expect(add(joiner, "b 1 1/2", "b1 ")).toBeUndefined();
    expect(add(joiner, "a 1 2/3", "a2 ")).toBeUndefined();
    expect(add(joiner, "b 1 2/2", "b2")).toBe("b1 b2");
    expect(add(joiner, "a 1 3/3", "a3")).toBe("a1 a2 a3");
    expect(joiner.isEmpty).toBe(true);
  });

  it.each([
    ["a part was lost", ["a 1 1/3", "a 1 3/3"]],
    ["the first part was lost", ["a 1 2/2"]],
    ["the next message began", ["a 1 1/2", "a 2 2/2"]],
    ["the count changed", ["a 1 1/2", "a 1 2/3"]],
    ["a part came twice", ["a 1 1/3", "a 1 2/3", "a 1 2/3", "a 1 3/3"]],
    ["there is no such part", ["a 1 0/0", "a 1 2/1"]],
  ])("gives up a message when %s, and takes the next one", (_, texts) => {
    const joiner = create();
    for (const text of texts) expect(add(joiner, text, "x")).toBeUndefined();
    expect(add(joiner, "a 9 1/2", "1")).toBeUndefined();
    expect(add(joiner, "a 9 2/2", "2")).toBe("12");
  });

  it("gives up what waits longest beyond its limits, of bytes and of senders", () => {
    for (const joiner of [create({ limitBytes: 25 }), create({ limitSenders: 2 })]) {
      for (const sender of ["a", "b", "c"]) add(joiner, `${sender} 1 1/2`, "0123456789");
      expect(add(joiner, "a 1 2/2", "x")).toBeUndefined();
      expect(add(joiner, "b 1 2/2", "x")).toBe("0123456789x");
      expect(add(joiner, "c 1 2/2", "x")).toBe("0123456789x");
    }
    expect(add(create({ limitBytes: 5 }), "a 1 1/2", "0123456789")).toBeUndefined();
  });

  it("gives up what gets no further part in time", () => {
    const joiner = create();
    add(joiner, "a 1 1/3", "a1", 0);
    add(joiner, "b 1 1/2", "b1", 50);
    add(joiner, "a 1 2/3", "a2", 90);
    joiner.expire(150);
    expect(add(joiner, "b 1 2/2", "b2", 150)).toBeUndefined();
    expect(add(joiner, "a 1 3/3", "a3", 150)).toBe("a1a2a3");
  });

  it("never holds more than its limits, whatever comes, and joins only what belongs together", () => {
    const parts = fc.record({
      sender: fc.constantFrom("a", "b", "c", "d"),
      message: fc.nat(3),
      index: fc.nat(4),
      count: fc.nat(4),
    });
    fc.assert(
      fc.property(fc.array(parts, { maxLength: 60 }), (given) => {
        const joiner = create({ limitBytes: 30, limitSenders: 3 });
        for (const [nowMs, part] of given.entries()) {
          const whole = joiner.add(part, Buffer.from(`${formatPart(part)};`), nowMs);
          if (whole === undefined) continue;
          const expected = Array.from({ length: part.count }, (_, i) => `${formatPart({ ...part, index: i + 1 })};`);
          expect(Buffer.from(whole).toString()).toBe(expected.join(""));
        }
      }),
    );
  });
});
