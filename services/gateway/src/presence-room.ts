import { Replica } from "@walcast/presence";
import { createListeners, type Listeners } from "./listening.ts";
import type { PresenceMessage } from "./presence-message.ts";
import { roomKey, type RoomAddress } from "./room.ts";

/** A topic that has channels here, and who is present in it on all gateways. */
export interface PresenceRoom extends RoomAddress {
  /** Names it in the store and on the bus. */
  readonly key: string;
  readonly listeners: readonly Listeners[];
  readonly replica: Replica;
  /** Channels that are in it, whether they take part in presence or not. */
  members: number;
  /** It was compared with the store once, or could not be. */
  isKnown: boolean;
  /** Run when it is known. */
  readonly waiting: Set<() => void>;
  /** While the store is read: what other gateways said meanwhile. */
  heard: PresenceMessage[] | undefined;
  /** One comparison after the other. */
  comparing: Promise<void>;
  leaveBus: () => void;
}

/** Where gateways tell each other who comes and goes in a room. */
export const presenceAddress = (key: string) => ({ kind: "presence", topic: key }) as const;

export const createPresenceRoom = ({ topic, isPrivate }: RoomAddress, name: string): PresenceRoom => ({
  topic,
  isPrivate,
  key: roomKey({ topic, isPrivate }),
  listeners: createListeners(name),
  replica: new Replica(),
  members: 0,
  isKnown: false,
  waiting: new Set(),
  heard: undefined,
  comparing: Promise.resolve(),
  leaveBus: () => undefined,
});
