import { describe, expect, it } from "vitest";
import { serializerV1, serializerV2, toBytes, type Broadcast } from "./index.ts";

const parse = (text: unknown): unknown => JSON.parse(String(text));
const [json, binary]: readonly [Broadcast, Broadcast] = [
  { tag: "event", event: "e", encoding: "json", payload: toBytes('{"n":9007199254740993}') },
  { tag: "event", event: "e", encoding: "binary", payload: Uint8Array.of(0, 255) },
];
const verbatim: Broadcast = { tag: "verbatim", payload: '{"event":"e","more":[1.0]}' };

describe("a text push of event broadcast", () => {
  it("carries its payload as spelled, of either serializer", () => {
    const payload = '{"type":"broadcast", "n": 9007199254740993.10}';
    const object = serializerV1.decode(`{"payload":${payload},"topic":"t","event":"broadcast","ref":null}`);
    const array = serializerV2.decode(`[null, null, "t", "broadcast", ${payload} ]`);
    expect(object?.broadcast).toEqual({ tag: "verbatim", payload });
    expect(array?.broadcast).toEqual({ tag: "verbatim", payload });
    expect(serializerV2.decode('[null,null,"t","broadcast",{}]')?.broadcast).toEqual({
      tag: "verbatim",
      payload: "{}",
    });
  });

  it.each(["[]", "null", "1", '"text"'])("carries nothing when its payload is %s, which is no object", (payload) => {
    expect(serializerV2.decode(`[null,null,"t","broadcast",${payload}]`)).not.toHaveProperty("broadcast");
  });
});

describe("a binary push", () => {
  const frame = (encoding: number, payload: Uint8Array): Uint8Array =>
    Uint8Array.of(3, 1, 1, 1, 1, 0, encoding, ...toBytes("12te"), ...payload);

  it("is a broadcast of vsn 2.0.0, and no frame of vsn 1.0.0", () => {
    const bytes = frame(0, Uint8Array.of(0, 255));
    expect(serializerV2.decodeBinary(bytes)).toEqual({
      joinRef: "1",
      ref: "2",
      topic: "t",
      event: "broadcast",
      payload: undefined,
      broadcast: binary,
    });
    expect(serializerV1.decodeBinary(bytes)).toBeUndefined();
  });

  it.each(["", "{", "{}x", "\ufeff{}"])("is no frame when it says JSON and has %j", (text) => {
    expect(serializerV2.decodeBinary(frame(1, toBytes(text)))).toBeUndefined();
    expect(serializerV2.decodeBinary(frame(0, toBytes(text)))).toBeDefined();
  });

  it("is no frame when it says JSON and is not UTF-8", () => {
    expect(serializerV2.decodeBinary(frame(1, Uint8Array.of(34, 0xff, 34)))).toBeUndefined();
  });

  it.each(["null", "7", "[1]", '{"a":1}'])("may carry %s, any JSON", (text) => {
    expect(serializerV2.decodeBinary(frame(1, toBytes(text)))?.broadcast).toMatchObject({ encoding: "json" });
  });
});

describe("a broadcast's frame", () => {
  it("is text for a text push, the payload verbatim", () => {
    const [one, two] = [serializerV1, serializerV2].map((serializer) => serializer.broadcast("realtime:a", verbatim));
    expect(one).toEqual({
      tag: "frame",
      frame: '{"topic":"realtime:a","event":"broadcast","ref":null,"payload":{"event":"e","more":[1.0]}}',
    });
    expect(two).toEqual({
      tag: "frame",
      frame: '[null,null,"realtime:a","broadcast",{"event":"e","more":[1.0]}]',
    });
  });

  it("is text for vsn 1.0.0 and kind 4 for vsn 2.0.0 when its payload is JSON of its own", () => {
    const one = serializerV1.broadcast("realtime:a", { ...json, metadata: '{"id":"x"}' });
    expect(one).toMatchObject({ frame: expect.stringContaining('"payload":{"n":9007199254740993}') as string });
    expect(parse(one.tag === "frame" && one.frame)).toEqual({
      topic: "realtime:a",
      event: "broadcast",
      ref: null,
      payload: { event: "e", payload: { n: expect.any(Number) as number }, type: "broadcast", meta: { id: "x" } },
    });
    const without = serializerV1.broadcast("realtime:a", json);
    expect(parse(without.tag === "frame" && without.frame)).not.toHaveProperty("payload.meta");
    expect(serializerV2.broadcast("realtime:a", json)).toEqual({
      tag: "frame",
      frame: Uint8Array.of(4, 10, 1, 0, 1, ...toBytes('realtime:ae{"n":9007199254740993}')),
    });
  });

  it("is kind 4 for vsn 2.0.0 and none for vsn 1.0.0 when its payload is bytes", () => {
    expect(serializerV1.broadcast("realtime:a", binary)).toEqual({ tag: "undeliverable", reason: "binaryPayload" });
    expect(serializerV2.broadcast("realtime:a", binary)).toEqual({
      tag: "frame",
      frame: Uint8Array.of(4, 10, 1, 0, 0, ...toBytes("realtime:ae"), 0, 255),
    });
  });

  it("is none for vsn 2.0.0 when a name is above 255 bytes", () => {
    const long = `realtime:${"a".repeat(247)}`;
    expect(serializerV2.broadcast(long, json)).toEqual({ tag: "undeliverable", reason: "nameTooLong" });
    expect(serializerV2.broadcast(long, verbatim)).toMatchObject({ tag: "frame" });
    expect(serializerV1.broadcast(long, json)).toMatchObject({ tag: "frame" });
  });
});
