import { randomUUID } from "node:crypto";
import { unreachable } from "@walcast/model";
import type { PresenceEntry } from "@walcast/presence";
import type { PresencePush, PresenceRequest, Serializer } from "@walcast/protocol";
import type { Rights } from "./channel-rights.ts";
import type { CallWindow, Limits } from "./limits.ts";
import { Listening, type ListeningSocket } from "./listening.ts";
import type { Presence } from "./presence.ts";
import type { PresenceRoom } from "./presence-room.ts";
import type { RoomAddress } from "./room.ts";

export interface PresenceMemberOptions {
  readonly presence: Presence;
  readonly address: RoomAddress;
  readonly joinRef: unknown;
  readonly wants: PresenceRequest;
  readonly rights: Rights;
  readonly serializer: Serializer;
  readonly socket: ListeningSocket;
  readonly send: (frame: string) => void;
  readonly limits: Limits;
  /** What may be tracked at most. */
  readonly payloadLimitBytes: number;
}

/** How a push is answered. */
export type PresenceAnswer =
  | { readonly tag: "reply"; readonly status: "ok" | "error"; readonly response: object }
  /** A limit was broken: the channel ends, and its client is told why. */
  | { readonly tag: "shutdown"; readonly reason: string };

const ok: PresenceAnswer = { tag: "reply", status: "ok", response: {} };
const refused: PresenceAnswer = { tag: "reply", status: "error", response: {} };
const notAnObject: PresenceAnswer = {
  tag: "reply",
  status: "error",
  response: { reason: "Presence track payload must be a map" },
};

/**
 * A channel's part in presence. A channel of a public topic hears who comes and goes in any case; told who is there, and heard
 * of in a private one, it is when it asked for presence or has tracked something (protocol.md 4.5).
 */
export class PresenceMember {
  readonly #options: PresenceMemberOptions;
  readonly #room: PresenceRoom;
  readonly #listening: Listening;
  readonly #key: string;
  readonly #calls: CallWindow;
  #rights: Rights;
  #entry: PresenceEntry | undefined;
  #isEnabled: boolean;
  #hasBegun = false;
  #stopWaiting: (() => void) | undefined;

  constructor(options: PresenceMemberOptions) {
    const { presence, address, socket, serializer, wants, rights, limits } = options;
    this.#options = options;
    this.#room = presence.enter(address);
    this.#listening = new Listening(socket, this.#room.listeners, serializer);
    this.#key = wants.key ?? randomUUID();
    this.#calls = limits.presenceCalls();
    this.#rights = rights;
    this.#isEnabled = wants.isEnabled;
  }

  /** From here on the channel is told. */
  begin(): void {
    this.#hasBegun = true;
    if (this.#isEnabled) this.#attend();
    else if (!this.#room.isPrivate) this.#listening.set(true);
  }

  /** A new token says what the channel may do now. */
  regrant(rights: Rights): void {
    this.#rights = rights;
    if (this.#hasBegun && this.#isEnabled) this.#attend();
  }

  push(push: PresencePush): PresenceAnswer {
    const { limits, payloadLimitBytes } = this.#options;
    if (!this.#calls.take()) return { tag: "shutdown", reason: limits.exceeded("presenceCalls") };
    if (limits.isOver("presenceEvents")) return { tag: "shutdown", reason: limits.exceeded("presenceEvents") };
    limits.count("presenceEvents");
    switch (push.tag) {
      case "track":
        if (Buffer.byteLength(push.meta) > payloadLimitBytes)
          return { tag: "shutdown", reason: limits.exceeded("trackSize") };
        return this.#track(push.meta);
      case "untrack":
        if (!this.#rights.presence.write) return refused;
        this.#untrack();
        return ok;
      case "notAnObject":
        return notAnObject;
      case "nothing":
        return ok;
      case "unknown":
        return refused;
      default:
        return unreachable(push);
    }
  }

  /** `isOpen`: the socket is still there. */
  leave({ isOpen }: { readonly isOpen: boolean }): void {
    this.#stopWaiting?.();
    this.#listening.end({ isOpen });
    this.#untrack();
    this.#options.presence.leave(this.#room);
  }

  #track(meta: string): PresenceAnswer {
    if (!this.#rights.presence.write) return refused;
    // A client that joined without presence is told who is there now, as newer peers do; before it hears of itself.
    this.#isEnabled = true;
    this.#attend();
    if (this.#entry?.meta === meta) return ok;
    const { presence } = this.#options;
    this.#entry = presence.track(this.#room, { key: this.#key, meta, former: this.#entry });
    return ok;
  }

  #untrack(): void {
    if (this.#entry !== undefined) this.#options.presence.untrack(this.#room, this.#entry);
    this.#entry = undefined;
  }

  /** Told who is there, once, and in the same moment begins to hear of changes: none is missed and none comes twice. */
  #attend(): void {
    const { presence, serializer, send, joinRef } = this.#options;
    if (this.#stopWaiting !== undefined || !this.#rights.presence.read) return;
    this.#stopWaiting = () => undefined;
    this.#stopWaiting = presence.whenKnown(this.#room, () => {
      const { head, tail } = serializer.pushAround({ topic: this.#room.topic, joinRef, event: "presence_state" });
      send(`${head}${this.#room.replica.state()}${tail}`);
      this.#options.limits.count("presenceEvents");
      this.#listening.set(true);
    });
  }
}
