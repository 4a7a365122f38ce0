import type { ClientFrame, Serializer } from "./frames.ts";
import { memberSlices } from "./json-slices.ts";
import { isObject, parseJson } from "./json.ts";
import { isReference } from "./reference.ts";
import { toText } from "./text.ts";
import { verbatim } from "./verbatim.ts";

/** vsn 1.0.0: JSON objects; the server never sends join_ref (protocol.md 2.1). */
export const serializerV1: Serializer = {
  vsn: "1.0.0",
  decode(text): ClientFrame | undefined {
    const frame = parseJson(text);
    if (!isObject(frame)) return undefined;
    const { topic, event, payload, ref, join_ref: joinRef } = frame;
    if (typeof topic !== "string" || typeof event !== "string" || payload === undefined || ref === undefined)
      return undefined;
    if (!isReference(ref) || !isReference(joinRef)) return undefined;
    const slice = (): string => memberSlices(text).get("payload") ?? "{}";
    return { topic, event, payload, ref, joinRef, ...verbatim(event, payload, slice) };
  },
  decodeBinary: () => undefined, // clients of this version send text only
  reply: ({ topic, ref, status, response }) =>
    JSON.stringify({ topic, event: "phx_reply", payload: { status, response }, ref }),
  push: ({ topic, event, payload }) => JSON.stringify({ topic, event, payload, ref: null }),
  pushAround({ topic, event }) {
    return this.fanOut(topic, event);
  },
  end: ({ topic, joinRef, event }) => JSON.stringify({ topic, event, payload: {}, ref: joinRef ?? null }),
  fanOut: (topic, event) => ({
    head: `{"topic":${JSON.stringify(topic)},"event":${JSON.stringify(event)},"ref":null,"payload":`,
    tail: "}",
  }),
  broadcast(topic, broadcast) {
    const { head, tail } = this.fanOut(topic, "broadcast");
    if (broadcast.tag === "verbatim") return { tag: "frame", frame: `${head}${broadcast.payload}${tail}` };
    const payload = broadcast.encoding === "json" ? toText(broadcast.payload) : undefined;
    if (payload === undefined) return { tag: "undeliverable", reason: "binaryPayload" };
    const meta = broadcast.metadata === undefined ? "" : `,"meta":${broadcast.metadata}`;
    const event = JSON.stringify(broadcast.event);
    return {
      tag: "frame",
      frame: `${head}{"event":${event},"payload":${payload},"type":"broadcast"${meta}}${tail}`,
    };
  },
};
