import type { ClientFrame, Serializer } from "./frames.ts";
import { parseJson } from "./json.ts";

/** vsn 2.0.0: JSON arrays `[join_ref, ref, topic, event, payload]` (protocol.md 2.2). */
export const serializerV2: Serializer = {
  vsn: "2.0.0",
  decode(text): ClientFrame | undefined {
    const frame = parseJson(text);
    if (!Array.isArray(frame) || frame.length < 5) return undefined;
    const [joinRef, ref, topic, event, payload] = frame as unknown[];
    if (typeof topic !== "string" || typeof event !== "string") return undefined;
    return { topic, event, payload, ref, joinRef };
  },
  reply: ({ topic, ref, joinRef, status, response }) =>
    JSON.stringify([joinRef ?? null, ref, topic, "phx_reply", { status, response }]),
  push: ({ topic, joinRef, event, payload }) => JSON.stringify([joinRef ?? null, null, topic, event, payload]),
  end: ({ topic, joinRef, event }) => JSON.stringify([joinRef ?? null, joinRef ?? null, topic, event, {}]),
  fanOut: (topic, event) => ({ head: `[null,null,${JSON.stringify(topic)},${JSON.stringify(event)},`, tail: "]" }),
};
