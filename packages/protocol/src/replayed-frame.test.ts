import { expect, it } from "vitest";
import { replayedFrame } from "./replayed-frame.ts";
import { serializerV1 } from "./serializer-v1.ts";
import { serializerV2 } from "./serializer-v2.ts";
import { toBytes, toText } from "./text.ts";

const channel = { topic: "realtime:room", joinRef: "7" };
const json = { id: "0b1c", event: 'mo"ved', encoding: "json", payload: toBytes('{"n":12345678901234567890}') } as const;
const binary = { id: "0b1c", event: "moved", encoding: "binary", payload: Uint8Array.of(0, 255) } as const;
const body =
  '{"payload":{"n":12345678901234567890},"event":"mo\\"ved","type":"broadcast","meta":{"replayed":true,"id":"0b1c"}}';

it("JSON is a push as text, its payload as it was spelled", () => {
  expect(replayedFrame(serializerV2, channel, json)).toBe(`["7",null,"realtime:room","broadcast",${body}]`);
  expect(replayedFrame(serializerV1, channel, json)).toBe(
    `{"topic":"realtime:room","event":"broadcast","ref":null,"payload":${body}}`,
  );
});

it("bytes are a frame of kind 4 for vsn 2.0.0, and nothing for 1.0.0", () => {
  const frame = replayedFrame(serializerV2, channel, binary);
  if (!(frame instanceof Uint8Array)) throw new Error("no binary frame");
  const metadata = '{"replayed":true,"id":"0b1c"}';
  expect([...frame.subarray(0, 5)]).toEqual([4, channel.topic.length, 5, metadata.length, 0]);
  expect(toText(frame.subarray(5, -2))).toBe(`realtime:roommoved${metadata}`);
  expect([...frame.subarray(-2)]).toEqual([0, 255]);
  expect(replayedFrame(serializerV1, channel, binary)).toBeUndefined();
  expect(replayedFrame(serializerV2, channel, { ...binary, event: "e".repeat(256) })).toBeUndefined();
});
