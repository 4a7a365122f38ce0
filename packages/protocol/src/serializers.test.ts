import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { negotiateSerializer, serializerV1, serializerV2, type Serializer } from "./index.ts";

const serializers = [serializerV1, serializerV2] as const;
const parse = (text: string): unknown => JSON.parse(text);
/** Refs are echoed whatever JSON value they are. */
const refs: readonly unknown[] = ["1", "", 1, 0, null, { a: [1] }, true];

describe("vsn 1.0.0", () => {
  it("reads an object frame, with and without join_ref", () => {
    const text = '{"topic":"realtime:a","event":"phx_join","payload":{"x":1},"ref":"1","join_ref":"2"}';
    const frame = { topic: "realtime:a", event: "phx_join", payload: { x: 1 }, ref: "1" };
    expect(serializerV1.decode(text)).toEqual({ ...frame, joinRef: "2" });
    expect(serializerV1.decode(text.replace(',"join_ref":"2"', ""))).toEqual({ ...frame, joinRef: undefined });
    expect(serializerV1.decode(text.replace("}", '},"extra":[]'))).toEqual({ ...frame, joinRef: "2" });
  });

  it("reads a frame whose payload and ref are null", () => {
    expect(serializerV1.decode('{"topic":"phoenix","event":"heartbeat","payload":null,"ref":null}')).toEqual({
      topic: "phoenix",
      event: "heartbeat",
      payload: null,
      ref: null,
      joinRef: undefined,
    });
  });

  it.each([
    ["no JSON", "{"],
    ["an empty text", ""],
    ["an array", '["1","1","t","e",{}]'],
    ["null", "null"],
    ["a number", "7"],
    ["a frame without topic", '{"event":"e","payload":{},"ref":"1"}'],
    ["a frame without event", '{"topic":"t","payload":{},"ref":"1"}'],
    ["a frame without payload", '{"topic":"t","event":"e","ref":"1"}'],
    ["a frame without ref", '{"topic":"t","event":"e","payload":{}}'],
    ["a topic that is no text", '{"topic":1,"event":"e","payload":{},"ref":"1"}'],
    ["an event that is no text", '{"topic":"t","event":null,"payload":{},"ref":"1"}'],
  ])("takes %s for no frame", (_, text) => {
    expect(serializerV1.decode(text)).toBeUndefined();
  });

  it("never sends join_ref: replies carry the ref, pushes null, ends the join_ref", () => {
    for (const ref of refs) {
      const reply = { topic: "t", ref, joinRef: "9", status: "ok", response: { a: 1 } } as const;
      expect(parse(serializerV1.reply(reply))).toEqual({
        topic: "t",
        event: "phx_reply",
        payload: { status: "ok", response: { a: 1 } },
        ref,
      });
      expect(parse(serializerV1.push({ topic: "t", joinRef: ref, event: "system", payload: { b: 2 } }))).toEqual({
        topic: "t",
        event: "system",
        payload: { b: 2 },
        ref: null,
      });
      expect(parse(serializerV1.end({ topic: "t", joinRef: ref, event: "phx_close" }))).toEqual({
        topic: "t",
        event: "phx_close",
        payload: {},
        ref,
      });
    }
    expect(parse(serializerV1.end({ topic: "t", joinRef: undefined, event: "phx_error" }))).toEqual({
      topic: "t",
      event: "phx_error",
      payload: {},
      ref: null,
    });
  });
});

describe("vsn 2.0.0", () => {
  it("reads an array frame and passes over what is too much", () => {
    const frame = { topic: "realtime:a", event: "phx_join", payload: { x: 1 }, ref: "1", joinRef: "2" };
    expect(serializerV2.decode('["2","1","realtime:a","phx_join",{"x":1}]')).toEqual(frame);
    expect(serializerV2.decode('["2","1","realtime:a","phx_join",{"x":1},"more",7]')).toEqual(frame);
    expect(serializerV2.decode('[null,7,"phoenix","heartbeat",null]')).toEqual({
      topic: "phoenix",
      event: "heartbeat",
      payload: null,
      ref: 7,
      joinRef: null,
    });
  });

  it.each([
    ["no JSON", "["],
    ["an object", '{"topic":"t","event":"e","payload":{},"ref":"1"}'],
    ["null", "null"],
    ["an empty array", "[]"],
    ["four elements", '["1","1","t","e"]'],
    ["a topic that is no text", '["1","1",null,"e",{}]'],
    ["an event that is no text", '["1","1","t",5,{}]'],
  ])("takes %s for no frame", (_, text) => {
    expect(serializerV2.decode(text)).toBeUndefined();
  });

  it("puts the refs where each kind of frame has them", () => {
    for (const ref of refs) {
      for (const joinRef of refs) {
        const reply = { topic: "t", ref, joinRef, status: "error", response: { reason: "x" } } as const;
        expect(parse(serializerV2.reply(reply))).toEqual([
          joinRef,
          ref,
          "t",
          "phx_reply",
          { status: "error", response: { reason: "x" } },
        ]);
      }
      const push = { topic: "t", joinRef: ref, event: "system", payload: { b: 2 } };
      expect(parse(serializerV2.push(push))).toEqual([ref, null, "t", "system", { b: 2 }]);
      const end = { topic: "t", joinRef: ref, event: "phx_error" } as const;
      expect(parse(serializerV2.end(end))).toEqual([ref, ref, "t", "phx_error", {}]);
    }
    const reply = { topic: "t", ref: "1", joinRef: undefined, status: "ok", response: {} } as const;
    expect(parse(serializerV2.reply(reply))).toEqual([null, "1", "t", "phx_reply", { status: "ok", response: {} }]);
    const end = { topic: "t", joinRef: undefined, event: "phx_close" } as const;
    expect(parse(serializerV2.end(end))).toEqual([null, null, "t", "phx_close", {}]);
  });
});

describe.each(serializers.map((serializer) => ({ serializer, vsn: serializer.vsn })))("vsn $vsn", ({ serializer }) => {
  const texts = fc.string({ unit: "grapheme" });

  it("puts around a payload that is JSON already what a push has around it", () => {
    for (const serializer of [serializerV1, serializerV2]) {
      for (const joinRef of ["7", null, undefined, { odd: [1] }]) {
        const push = { topic: 'a "topic"', joinRef, event: "presence_state" };
        const { head, tail } = serializer.pushAround(push);
        expect(JSON.parse(`${head}{"a":1}${tail}`)).toEqual(
          JSON.parse(serializer.push({ ...push, payload: { a: 1 } })),
        );
      }
    }
  });

  it("puts around a payload for many what a push has around it", () => {
    fc.assert(
      fc.property(texts, texts, fc.jsonValue(), (topic, event, payload) => {
        const { head, tail } = serializer.fanOut(topic, event);
        const frame = `${head}${JSON.stringify(payload)}${tail}`;
        expect(parse(frame)).toEqual(parse(serializer.push({ topic, event, payload, joinRef: null })));
      }),
    );
  });

  it("gives a frame or nothing for any text, and never throws", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        const frame = serializer.decode(text);
        if (frame === undefined) return;
        expect([typeof frame.topic, typeof frame.event]).toEqual(["string", "string"]);
      }),
      { numRuns: 1000 },
    );
    expect(serializer.decode("")).toBeUndefined();
  });
});

describe("negotiateSerializer", () => {
  it.each<[string | undefined, Serializer | undefined]>([
    [undefined, serializerV1],
    ["1.0.0", serializerV1],
    ["1.0.3", serializerV1],
    ["2.0.0", serializerV2],
    ["2.0.11", serializerV2],
    ["1.1.0", undefined],
    ["2.1.0", undefined],
    ["3.0.0", undefined],
    ["1.0", undefined],
    ["1", undefined],
    ["v1.0.0", undefined],
    ["1.0.0 ", undefined],
    ["latest", undefined],
  ])("answers %s", (vsn, expected) => {
    expect(negotiateSerializer(vsn)).toBe(expected);
  });
});

it("refs that are nested too deep to be written, or very long, make a frame malformed", () => {
  const nested = (depth: number): string => `${"[".repeat(depth)}1${"]".repeat(depth)}`;
  for (const bad of [nested(600), nested(10_000), JSON.stringify("x".repeat(1_001)), `{"a":"${"x".repeat(1_000)}"}`]) {
    const v1 = (refs: string): string => `{"topic":"t","event":"e","payload":{},${refs}}`;
    expect(serializerV1.decode(v1(`"ref":${bad}`))).toBeUndefined();
    expect(serializerV1.decode(v1(`"ref":"1","join_ref":${bad}`))).toBeUndefined();
    expect(serializerV2.decode(`["1",${bad},"t","e",{}]`)).toBeUndefined();
    expect(serializerV2.decode(`[${bad},"1","t","e",{}]`)).toBeUndefined();
  }
  expect(serializerV2.decode(`["1",${nested(100)},"t","e",{}]`)).toBeDefined();
});
