import type { ClientFrame, Serializer } from "./frames.ts";
import { isObject, parseJson } from "./json.ts";

/** vsn 1.0.0: JSON objects; the server never sends join_ref (protocol.md 2.1). */
export const serializerV1: Serializer = {
  vsn: "1.0.0",
  decode(text): ClientFrame | undefined {
    const frame = parseJson(text);
    if (!isObject(frame)) return undefined;
    const { topic, event, payload, ref, join_ref: joinRef } = frame;
    if (typeof topic !== "string" || typeof event !== "string" || payload === undefined || ref === undefined)
      return undefined;
    return { topic, event, payload, ref, joinRef };
  },
  reply: ({ topic, ref, status, response }) =>
    JSON.stringify({ topic, event: "phx_reply", payload: { status, response }, ref }),
  push: ({ topic, event, payload }) => JSON.stringify({ topic, event, payload, ref: null }),
  end: ({ topic, joinRef, event }) => JSON.stringify({ topic, event, payload: {}, ref: joinRef ?? null }),
  fanOut: (topic, event) => ({
    head: `{"topic":${JSON.stringify(topic)},"event":${JSON.stringify(event)},"ref":null,"payload":`,
    tail: "}",
  }),
};
