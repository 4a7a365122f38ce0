import { describe, expect, it } from "vitest";
import { serializerV1 } from "./serializer-v1.ts";
import { serializerV2 } from "./serializer-v2.ts";
import type { PresencePush } from "./presence-push.ts";

/** As both serializers read it. */
function read(payload: string): PresencePush | undefined {
  const one = serializerV1.decode(`{"topic":"t","event":"presence","payload":${payload},"ref":"1"}`)?.presence;
  const two = serializerV2.decode(`["1","1","t","presence",${payload}]`)?.presence;
  expect(one).toEqual(two);
  return two;
}

describe("a presence push", () => {
  it.each<[string, PresencePush]>([
    ['{"type":"presence","event":"track","payload":{"a": 1.50}}', { tag: "track", meta: '{"a": 1.50}' }],
    ['{"event":"TRACK","payload":{"n":12345678901234567890}}', { tag: "track", meta: '{"n":12345678901234567890}' }],
    ['{"event":"track"}', { tag: "track", meta: "{}" }],
    ['{"event":"track","payload":{}}', { tag: "track", meta: "{}" }],
    ['{"event":"track","payload":{"phx_ref":"mine","b":[1],"phx_ref_prev":null}}', { tag: "track", meta: '{"b":[1]}' }],
    ['{"event":"track","payload":null}', { tag: "notAnObject" }],
    ['{"event":"track","payload":[]}', { tag: "notAnObject" }],
    ['{"event":"track","payload":"x"}', { tag: "notAnObject" }],
    ['{"event":"Untrack"}', { tag: "untrack" }],
    ['{"type":"presence","payload":{}}', { tag: "nothing" }],
    ["{}", { tag: "nothing" }],
    ['{"event":"dance"}', { tag: "unknown" }],
    ['{"event":null}', { tag: "unknown" }],
    ['{"event":7}', { tag: "unknown" }],
    ["null", { tag: "unknown" }],
    ["[]", { tag: "unknown" }],
  ])("%s", (payload, expected) => {
    expect(read(payload)).toEqual(expected);
  });

  it("is nothing that another event carries", () => {
    const frame = '["1","1","t","broadcast",{"event":"track","payload":{}}]';
    expect(serializerV2.decode(frame)?.presence).toBeUndefined();
  });
});
