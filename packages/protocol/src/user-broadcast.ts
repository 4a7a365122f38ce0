import type { PayloadEncoding } from "./broadcast.ts";
import { toBytes, toText } from "./text.ts";

// The binary frames of vsn 2.0.0 (protocol.md 2.3). A header of lengths, each one unsigned byte that counts UTF-8 bytes, then
// the parts without padding; the last one runs to the end of the frame.

/** Kind 3: a client's broadcast. */
export interface UserBroadcastPush {
  /** null where the client sent an empty one. */
  readonly joinRef: string | null;
  readonly ref: string | null;
  readonly topic: string;
  readonly event: string;
  /** Empty or a JSON object; nothing in it is used (protocol.md 2.3). */
  readonly metadata: string;
  readonly encoding: PayloadEncoding;
  readonly payload: Uint8Array;
}

/** Kind 4: what members of the room get. */
export interface UserBroadcast {
  readonly topic: string;
  readonly event: string;
  readonly metadata?: string | undefined;
  readonly encoding: PayloadEncoding;
  readonly payload: Uint8Array;
}

const pushKind = 3;
const broadcastKind = 4;
/** Kind, five lengths, encoding. */
const pushHeaderBytes = 7;
/** Kind, three lengths, encoding. */
const broadcastHeaderBytes = 5;
const lengthLimit = 255;
/** Every other value means JSON; clients write 1. */
const binaryEncoding = 0;
const jsonEncoding = 1;

/**
 * Reads a kind 3 frame; its payload is a part of `bytes`, not a copy. `undefined` for all else: what is cut short, is not
 * UTF-8, or is of another kind, none of which a client of ours sends (protocol.md 1.7, 2.3).
 */
export function decodeUserBroadcastPush(bytes: Uint8Array): UserBroadcastPush | undefined {
  if (bytes[0] !== pushKind || bytes.length < pushHeaderBytes) return undefined;
  const headerBytes = hasMetadataLength(bytes) ? pushHeaderBytes : pushHeaderBytes - 1;
  let at = headerBytes;
  const parts: string[] = [];
  for (const length of bytes.subarray(1, headerBytes - 1)) {
    if (at + length > bytes.length) return undefined;
    const part = toText(bytes.subarray(at, at + length));
    if (part === undefined) return undefined;
    parts.push(part);
    at += length;
  }
  const [joinRef = "", ref = "", topic = "", event = "", metadata = ""] = parts;
  return {
    joinRef: joinRef === "" ? null : joinRef,
    ref: ref === "" ? null : ref,
    topic,
    event,
    metadata,
    encoding: bytes[headerBytes - 1] === binaryEncoding ? "binary" : "json",
    payload: bytes.subarray(at),
  };
}

/**
 * realtime-js 2.81.0 to 2.90 have no metadata in kind 3, nor its length: their encoding stands where the length would be, and
 * where the encoding would be their join_ref begins, or else the ref or the topic: a character, far above any encoding.
 */
const hasMetadataLength = (bytes: Uint8Array): boolean =>
  (bytes[pushHeaderBytes - 1] ?? 0) <= jsonEncoding || (bytes[pushHeaderBytes - 2] ?? 0) > jsonEncoding;

/** Writes a kind 4 frame; `undefined` when topic, event or metadata is above 255 bytes and cannot be put in one. */
export function encodeUserBroadcast(message: UserBroadcast): Uint8Array | undefined {
  const parts = [message.topic, message.event, message.metadata ?? ""].map(toBytes);
  if (parts.some((part) => part.length > lengthLimit)) return undefined;
  const namesBytes = parts.reduce((sum, part) => sum + part.length, 0);
  const frame = new Uint8Array(broadcastHeaderBytes + namesBytes + message.payload.length);
  frame.set([
    broadcastKind,
    ...parts.map((part) => part.length),
    message.encoding === "binary" ? binaryEncoding : jsonEncoding,
  ]);
  let at = broadcastHeaderBytes;
  for (const part of [...parts, message.payload]) {
    frame.set(part, at);
    at += part.length;
  }
  return frame;
}
