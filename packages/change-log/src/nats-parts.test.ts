import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { partOf, PartJoiner, splitParts } from "./nats-parts.ts";

/** What the joiner makes of messages in a row: each whole batch as text. */
function join(parts: ReturnType<typeof splitParts>): string[] {
  const joiner = new PartJoiner();
  return parts.flatMap(({ data, headers }) => {
    const whole = joiner.add(data, partOf(headers));
    return whole === undefined ? [] : [Buffer.from(whole).toString()];
  });
}

describe("parts of a batch", () => {
  it("come together as what was split, whatever stands before them", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ text: fc.string({ unit: "grapheme" }), torso: fc.nat(9) }), { maxLength: 6 }),
        fc.integer({ min: 1, max: 7 }),
        (batches, limit) => {
          const messages = batches.flatMap(({ text, torso }) => {
            const parts = splitParts(Buffer.from(text), limit);
            // A writer that died left some of the parts; the next one wrote the batch again.
            return [...(parts.length > torso ? parts.slice(0, torso) : []), ...parts];
          });
          expect(messages.every(({ data }) => data.length <= limit)).toBe(true);
          expect(join(messages)).toEqual(batches.map(({ text }) => text));
        },
      ),
    );
  });

  it("are one message without a header when it fits", () => {
    expect(splitParts(Buffer.from("1234"), 4)).toEqual([{ data: Buffer.from("1234"), headers: undefined }]);
    expect(splitParts(Buffer.from("12345"), 4).map(({ headers }) => partOf(headers))).toEqual([
      { index: 1, count: 2 },
      { index: 2, count: 2 },
    ]);
  });

  it("that lack one in the middle make nothing", () => {
    const parts = splitParts(Buffer.from("123456"), 2);
    expect(join(parts.filter((_, index) => index !== 1))).toEqual([]);
    expect(join(parts.slice(1))).toEqual([]);
  });
});
