import {
  databaseBroadcastsReady,
  replayedFrame,
  type Broadcast,
  type BroadcastOptions,
  type Serializer,
  type StoredBroadcast,
} from "@walcast/protocol";
import type { Broadcaster, PublishFrame } from "./broadcaster.ts";
import type { Rights } from "./channel-rights.ts";
import { Listening, type ListeningSocket } from "./listening.ts";
import type { Readiness } from "./readiness.ts";
import type { Replay } from "./replay.ts";
import type { Room, RoomAddress } from "./room.ts";

/** What a member needs of the socket that its channel is on. */
export interface MemberSocket extends ListeningSocket {
  /** To all other sockets subscribed to the name. */
  readonly publish: PublishFrame;
}

export interface MemberOptions {
  readonly address: RoomAddress;
  readonly wants: BroadcastOptions;
  readonly rights: Rights;
  readonly serializer: Serializer;
  readonly socket: MemberSocket;
  readonly broadcaster: Broadcaster;
  readonly readiness: Readiness;
  readonly joinRef: unknown;
  /** Broadcasts from before the join, that it wants first. */
  readonly replay?: Replay | undefined;
  /** To this channel's client alone. */
  readonly send: (frame: string | Uint8Array) => void;
  /** Ends the channel. */
  readonly end: (reason: string) => void;
}

/** How a push is answered, if it is. */
export type PushAnswer =
  | { readonly status: "ok"; readonly response: object }
  | { readonly status: "error"; readonly response: { readonly error: string } };

/** A channel in its room. It is there from the beginning, and hears once it listens. */
export class Member {
  readonly #options: MemberOptions;
  readonly #room: Room;
  readonly #listening: Listening;
  #rights: Rights;
  #hasBegun = false;
  /** It is told by its replay. */
  #isSingle: boolean;
  #unwatch: () => void = () => undefined;

  constructor(options: MemberOptions) {
    this.#options = options;
    this.#rights = options.rights;
    this.#isSingle = options.replay !== undefined;
    this.#room = options.broadcaster.rooms.enter(options.address);
    this.#listening = new Listening(options.socket, this.#room.listeners, options.serializer);
  }

  get isPrivate(): boolean {
    return this.#room.isPrivate;
  }

  get rights(): Rights {
    return this.#rights;
  }

  /** What it is to be told first, as long as that has not begun. */
  get pendingReplay(): Replay | undefined {
    return this.#hasBegun ? undefined : this.#options.replay;
  }

  /** From here on the channel gets broadcasts, when it may read them. */
  begin(): void {
    const { wants, replay, end } = this.#options;
    this.#hasBegun = true;
    if (wants.tellsReady) this.#watch();
    if (replay === undefined) return this.#listen();
    const hasBegun = replay.begin({
      stored: (message) => this.#replay(message),
      live: (broadcast) => this.#tell(broadcast),
      over: () => {
        this.#isSingle = false;
        this.#listen();
      },
    });
    if (!hasBegun) end("Realtime was unable to replay messages");
  }

  /** A new token says what the channel may do now. */
  regrant(rights: Rights): void {
    this.#rights = rights;
    this.#listen();
  }

  /**
   * Sends what the channel pushed; `undefined` when the push is not to be answered. Refusals have the shape of newer peers,
   * an object as every other response, where v2.129.8 answers a bare text (protocol.md 4.4); clients take either.
   */
  push(broadcast: Broadcast | undefined): PushAnswer | undefined {
    const { wants, broadcaster, serializer, socket, replay } = this.#options;
    const refused = (error: string): PushAnswer | undefined =>
      wants.ack ? { status: "error", response: { error } } : undefined;
    // The peer's channel crashes on a text payload that is no object; protocol.md 2.5 leaves us to refuse it.
    if (broadcast === undefined) {
      broadcaster.drop("notAnObject");
      return refused("payload_not_an_object");
    }
    if (broadcaster.isTooLarge(broadcast)) {
      broadcaster.drop("payloadTooLarge");
      return refused("payload_size_exceeded");
    }
    if (!this.#rights.broadcast.write) {
      broadcaster.drop("denied");
      return undefined; // no answer even with ack, so that nobody can probe for policies (protocol.md 4.4)
    }
    broadcaster.send(
      this.#room,
      broadcast,
      wants.self
        ? undefined
        : { serializer, publish: socket.publish, isListening: this.#listening.isOn, single: replay },
    );
    return wants.ack ? { status: "ok", response: {} } : undefined;
  }

  /** `isOpen`: the socket is still there. */
  leave({ isOpen }: { readonly isOpen: boolean }): void {
    this.#unwatch();
    this.#options.replay?.abandon();
    this.#listening.end({ isOpen });
    this.#options.broadcaster.rooms.leave(this.#room);
  }

  #listen(): void {
    if (this.#hasBegun && !this.#isSingle) this.#listening.set(this.#rights.broadcast.read);
  }

  #watch(): void {
    const { readiness, serializer, joinRef, send, end } = this.#options;
    const { topic } = this.#room;
    this.#unwatch = readiness.watch({
      ready: () => send(serializer.push({ topic, joinRef, event: "system", payload: databaseBroadcastsReady(topic) })),
      late: () => end("Replication connection was not established in time"),
    });
  }

  #replay(message: StoredBroadcast): void {
    const { serializer, broadcaster, joinRef, send } = this.#options;
    const { topic } = this.#room;
    const frame = replayedFrame(serializer, { topic, joinRef }, message);
    if (frame === undefined) broadcaster.drop(serializer.vsn === "1.0.0" ? "binaryPayload" : "nameTooLong");
    else if (this.#rights.broadcast.read) send(frame);
  }

  #tell(broadcast: Broadcast): void {
    const { serializer, broadcaster, send } = this.#options;
    if (!this.#rights.broadcast.read) return;
    broadcaster.deliverTo(serializer.broadcast(this.#room.topic, broadcast), send);
  }
}
