import { toBytes, type Broadcast } from "@walcast/protocol";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeBusMessage, encodeBusMessage } from "./bus-message.ts";

const texts = fc.string({ unit: "grapheme" });
const broadcasts: fc.Arbitrary<Broadcast> = fc.oneof(
  fc.record({ tag: fc.constant("verbatim" as const), payload: texts }),
  fc.record(
    {
      tag: fc.constant("event" as const),
      event: texts,
      encoding: fc.constantFrom("json" as const, "binary" as const),
      payload: fc.uint8Array(),
      metadata: texts,
    },
    { requiredKeys: ["tag", "event", "encoding", "payload"] },
  ),
);

describe("a bus message", () => {
  it("reads as it was written", () => {
    fc.assert(
      fc.property(broadcasts, (broadcast) => {
        const decoded = decodeBusMessage(encodeBusMessage(broadcast));
        const payload =
          typeof decoded?.payload === "string" ? decoded.payload : Uint8Array.from(decoded?.payload ?? []);
        expect({ ...decoded, payload }).toEqual(broadcast);
      }),
    );
  });

  it("is none, without an error, when it is anything else", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(decodeBusMessage(bytes)).toBeUndefined();
      }),
    );
    for (const text of ["{}\n", '{"tag":"verbatim"}', '{"tag":"event","event":1,"encoding":"json"}\n', "[]\n", "\n"])
      expect(decodeBusMessage(toBytes(text))).toBeUndefined();
    expect(decodeBusMessage(Buffer.concat([toBytes('{"tag":"verbatim"}\n'), Uint8Array.of(0xff)]))).toBeUndefined();
  });
});
