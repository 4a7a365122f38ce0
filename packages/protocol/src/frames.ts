import type { Broadcast, BroadcastFrame } from "./broadcast.ts";
import type { PresencePush } from "./presence-push.ts";

/** What a client sent (protocol.md 2). Refs are echoed whatever JSON value they are. */
export interface ClientFrame {
  readonly topic: string;
  readonly event: string;
  readonly payload: unknown;
  readonly ref: unknown;
  /** `undefined` when the client sent none, as realtime-js 1.3.3 does. */
  readonly joinRef: unknown;
  /** What a frame with event `broadcast` carries, unless its payload is something that cannot be sent on. */
  readonly broadcast?: Broadcast;
  /** What a frame with event `presence` asks for. */
  readonly presence?: PresencePush;
}

/** The answer to one frame. */
export interface Reply {
  readonly topic: string;
  readonly ref: unknown;
  /** null for heartbeats and for topics that are not joined. */
  readonly joinRef: unknown;
  readonly status: "ok" | "error";
  readonly response: unknown;
}

/** A message to one channel that is no answer. */
export interface Push {
  readonly topic: string;
  readonly joinRef: unknown;
  readonly event: string;
  readonly payload: unknown;
}

/** Around the payload of a frame. */
export interface Envelope {
  readonly head: string;
  readonly tail: string;
}

/** One version of the wire format. */
export interface Serializer {
  readonly vsn: "1.0.0" | "2.0.0";
  /** `undefined` for anything that is no frame: it is dropped and the connection stays open (protocol.md 1.7). */
  decode(text: string): ClientFrame | undefined;
  /** As `decode`. The frame refers to `bytes`. */
  decodeBinary(bytes: Uint8Array): ClientFrame | undefined;
  reply(reply: Reply): string;
  push(push: Push): string;
  /** Around the payload of a push, for one that is JSON already. */
  pushAround(push: Omit<Push, "payload">): Envelope;
  /** `phx_close` or `phx_error`, which carry the channel's join_ref. */
  end(channel: {
    readonly topic: string;
    readonly joinRef: unknown;
    readonly event: "phx_close" | "phx_error";
  }): string;
  /** For a frame that goes to many: the same bytes for every member of a group. */
  fanOut(topic: string, event: string): Envelope;
  /** The frame of a broadcast for the members of a room (protocol.md 2.5). */
  broadcast(topic: string, broadcast: Broadcast): BroadcastFrame;
}
