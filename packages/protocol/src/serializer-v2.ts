import type { ClientFrame, Serializer } from "./frames.ts";
import { elementSlices } from "./json-slices.ts";
import { parseJson } from "./json.ts";
import { isReference } from "./reference.ts";
import { toText } from "./text.ts";
import { decodeUserBroadcastPush, encodeUserBroadcast } from "./user-broadcast.ts";
import { verbatim } from "./verbatim.ts";

/** vsn 2.0.0: JSON arrays `[join_ref, ref, topic, event, payload]` (protocol.md 2.2). */
export const serializerV2: Serializer = {
  vsn: "2.0.0",
  decode(text): ClientFrame | undefined {
    const frame = parseJson(text);
    if (!Array.isArray(frame) || frame.length < 5) return undefined;
    const [joinRef, ref, topic, event, payload] = frame as unknown[];
    if (typeof topic !== "string" || typeof event !== "string") return undefined;
    if (!isReference(ref) || !isReference(joinRef)) return undefined;
    const slice = (): string => elementSlices(text)[4] ?? "{}";
    return { topic, event, payload, ref, joinRef, ...verbatim(event, payload, slice) };
  },
  decodeBinary(bytes): ClientFrame | undefined {
    const push = decodeUserBroadcastPush(bytes);
    if (push === undefined) return undefined;
    const { topic, ref, joinRef, event, encoding, payload } = push;
    // Pasted into other clients' frames unread, what is not JSON would break those clients (protocol.md 12).
    if (encoding === "json" && !isJson(payload)) return undefined;
    const broadcast = { tag: "event", event, encoding, payload } as const;
    return { topic, event: "broadcast", payload: undefined, ref, joinRef, broadcast };
  },
  reply: ({ topic, ref, joinRef, status, response }) =>
    JSON.stringify([joinRef ?? null, ref, topic, "phx_reply", { status, response }]),
  push: ({ topic, joinRef, event, payload }) => JSON.stringify([joinRef ?? null, null, topic, event, payload]),
  pushAround: ({ topic, joinRef, event }) => ({
    head: `[${JSON.stringify(joinRef ?? null)},null,${JSON.stringify(topic)},${JSON.stringify(event)},`,
    tail: "]",
  }),
  end: ({ topic, joinRef, event }) => JSON.stringify([joinRef ?? null, joinRef ?? null, topic, event, {}]),
  fanOut: (topic, event) => ({ head: `[null,null,${JSON.stringify(topic)},${JSON.stringify(event)},`, tail: "]" }),
  broadcast(topic, broadcast) {
    if (broadcast.tag === "verbatim") {
      const { head, tail } = this.fanOut(topic, "broadcast");
      return { tag: "frame", frame: `${head}${broadcast.payload}${tail}` };
    }
    const frame = encodeUserBroadcast({ ...broadcast, topic });
    return frame === undefined ? { tag: "undeliverable", reason: "nameTooLong" } : { tag: "frame", frame };
  },
};

function isJson(bytes: Uint8Array): boolean {
  const text = toText(bytes);
  return text !== undefined && parseJson(text) !== undefined;
}
