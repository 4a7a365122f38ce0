import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toBytes, toText } from "./text.ts";
import { decodeUserBroadcastPush, encodeUserBroadcast } from "./user-broadcast.ts";

const bytesOf = (hex: string): Uint8Array =>
  Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
const joined = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]));

/** protocol.md 2.3, the worked example. */
const push = joined(bytesOf("030203050a0001"), toBytes('12123topicuser_event{"a":"b"}'));
const broadcast = joined(bytesOf("04050a1101"), toBytes('topicuser_event{"replayed":true}{"a":"b"}'));

/** A kind 3 frame as a client writes it. */
function writePush(parts: readonly string[], encoding: number, payload: Uint8Array): Uint8Array {
  const bytes = parts.map((part) => toBytes(part));
  return joined(Uint8Array.of(3, ...bytes.map((part) => part.length), encoding), ...bytes, payload);
}

const names = fc.string({ unit: "grapheme", maxLength: 30 }).filter((name) => toBytes(name).length <= 255);
const payloads = fc.uint8Array({ maxLength: 300 });

describe("decodeUserBroadcastPush", () => {
  it("reads the worked example", () => {
    expect(decodeUserBroadcastPush(push)).toEqual({
      joinRef: "12",
      ref: "123",
      topic: "topic",
      event: "user_event",
      metadata: "",
      encoding: "json",
      payload: toBytes('{"a":"b"}'),
    });
  });

  it("reads back whatever a client can write", () => {
    fc.assert(
      fc.property(fc.tuple(names, names, names, names, names), fc.nat(1), payloads, (parts, encoding, payload) => {
        const [joinRef, ref, topic, event, metadata] = parts;
        expect(decodeUserBroadcastPush(writePush(parts, encoding, payload))).toEqual({
          joinRef: joinRef === "" ? null : joinRef,
          ref: ref === "" ? null : ref,
          topic,
          event,
          metadata,
          encoding: encoding === 0 ? "binary" : "json",
          payload,
        });
      }),
    );
  });

  it("reads the frames of realtime-js 2.81.0, which have no metadata", () => {
    const short = names.filter((name) => name !== "" && name.charCodeAt(0) >= 32);
    fc.assert(
      fc.property(fc.tuple(short, short, short, names), fc.nat(1), payloads, (parts, encoding, payload) => {
        const [joinRef, ref, topic, event] = parts;
        expect(decodeUserBroadcastPush(writePush(parts, encoding, payload))).toEqual({
          joinRef,
          ref,
          topic,
          event,
          metadata: "",
          encoding: encoding === 0 ? "binary" : "json",
          payload,
        });
      }),
    );
  });

  it("takes a frame for none when it is cut anywhere before its payload, and for a shorter payload after that", () => {
    const payloadAt = push.length - '{"a":"b"}'.length;
    for (let length = 0; length < push.length; length++) {
      const decoded = decodeUserBroadcastPush(push.subarray(0, length));
      expect(decoded?.payload.length).toBe(length < payloadAt ? undefined : length - payloadAt);
    }
  });

  it.each([0, 1, 2, 4, 5, 255])("takes kind %i for no frame", (kind) => {
    expect(decodeUserBroadcastPush(joined(Uint8Array.of(kind), push.subarray(1)))).toBeUndefined();
  });

  it("takes names that are not UTF-8 for no frame", () => {
    expect(decodeUserBroadcastPush(Uint8Array.of(3, 0, 0, 1, 0, 0, 1, 0xff))).toBeUndefined();
  });

  it("gives a frame or nothing for any bytes, and never throws", () => {
    const kinds = fc.constantFrom(0, 1, 2, 3, 3, 3, 4, 255);
    fc.assert(
      fc.property(kinds, fc.uint8Array({ maxLength: 40 }), (kind, rest) => {
        const decoded = decodeUserBroadcastPush(joined(Uint8Array.of(kind), rest));
        if (kind !== 3) expect(decoded).toBeUndefined();
        else if (decoded !== undefined) expect(typeof decoded.topic).toBe("string");
      }),
      { numRuns: 2000 },
    );
    expect(decodeUserBroadcastPush(new Uint8Array())).toBeUndefined();
  });
});

describe("encodeUserBroadcast", () => {
  it("writes the worked example", () => {
    const message = { topic: "topic", event: "user_event", encoding: "json", payload: toBytes('{"a":"b"}') } as const;
    expect(encodeUserBroadcast({ ...message, metadata: '{"replayed":true}' })).toEqual(broadcast);
  });

  it("writes what its lengths say, in their order", () => {
    fc.assert(
      fc.property(names, names, names, fc.boolean(), payloads, (topic, event, metadata, isBinary, payload) => {
        const frame = encodeUserBroadcast({
          topic,
          event,
          metadata,
          encoding: isBinary ? "binary" : "json",
          payload,
        });
        if (frame === undefined) throw new Error("all names fit");
        const [kind, topicLength = 0, eventLength = 0, metadataLength = 0, encoding] = frame;
        const ends = [topicLength, topicLength + eventLength, topicLength + eventLength + metadataLength];
        const [topicEnd = 0, eventEnd = 0, metadataEnd = 0] = ends.map((end) => 5 + end);
        expect([kind, encoding]).toEqual([4, isBinary ? 0 : 1]);
        expect(toText(frame.subarray(5, topicEnd))).toBe(topic);
        expect(toText(frame.subarray(topicEnd, eventEnd))).toBe(event);
        expect(toText(frame.subarray(eventEnd, metadataEnd))).toBe(metadata);
        expect(frame.subarray(metadataEnd)).toEqual(payload);
      }),
    );
  });

  it("counts UTF-8 bytes, and writes nothing where they are more than 255", () => {
    const message = { topic: "t", event: "e", encoding: "binary", payload: new Uint8Array() } as const;
    const [fits, tooLong] = ["é".repeat(127), "é".repeat(128)];
    expect(encodeUserBroadcast({ ...message, topic: fits, event: fits })).toHaveLength(5 + 254 + 254);
    expect(encodeUserBroadcast({ ...message, topic: tooLong })).toBeUndefined();
    expect(encodeUserBroadcast({ ...message, event: tooLong })).toBeUndefined();
    expect(encodeUserBroadcast({ ...message, metadata: tooLong })).toBeUndefined();
  });
});
