import type { PayloadEncoding } from "./broadcast.ts";
import type { Serializer } from "./frames.ts";
import { toText } from "./text.ts";

/** A broadcast that was stored. */
export interface StoredBroadcast {
  readonly id: string;
  readonly event: string;
  readonly encoding: PayloadEncoding;
  /** Bytes of any kind, or a JSON text in UTF-8. */
  readonly payload: Uint8Array;
}

/**
 * The frame of a replayed broadcast, for one channel (protocol.md 2.5): JSON is a push as text, bytes are a binary frame.
 * `undefined` where the serializer, or a binary frame's 255 bytes for names, has no place for it.
 */
export function replayedFrame(
  serializer: Serializer,
  { topic, joinRef }: { readonly topic: string; readonly joinRef: unknown },
  { id, event, encoding, payload }: StoredBroadcast,
): string | Uint8Array | undefined {
  const metadata = JSON.stringify({ replayed: true, id });
  if (encoding === "binary") {
    const encoded = serializer.broadcast(topic, { tag: "event", event, encoding, payload, metadata });
    return encoded.tag === "frame" ? encoded.frame : undefined;
  }
  const { head, tail } = serializer.pushAround({ topic, joinRef, event: "broadcast" });
  // The payload stays as it is spelled: numbers in it may be larger than JavaScript's.
  return `${head}{"payload":${toText(payload) ?? "null"},"event":${JSON.stringify(event)},"type":"broadcast","meta":${metadata}}${tail}`;
}
