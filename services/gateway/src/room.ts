import type { Bus } from "@walcast/bus";
import { subtopicOf, type Broadcast } from "@walcast/protocol";
import { createListeners, type Listeners } from "./listening.ts";
import type { GatewayMetrics } from "./metrics.ts";

/** Which room: private and public channels of one subtopic do not hear each other (protocol.md 4.4). */
export interface RoomAddress {
  /** As clients join it: `realtime:<subtopic>`. */
  readonly topic: string;
  readonly isPrivate: boolean;
}

/** Who is told each broadcast by itself, apart from the listeners. */
export interface Single {
  hear(broadcast: Broadcast): void;
}

/** All local channels that hear the same broadcasts. */
export interface Room extends RoomAddress {
  readonly listeners: readonly Listeners[];
  readonly singles: Set<Single>;
  /** Channels that are in it, whether they may listen or not. */
  members: number;
  /** Stops hearing the other gateways. */
  readonly leaveBus: () => void;
}

export interface RoomsOptions {
  readonly bus: Bus;
  readonly metrics: GatewayMetrics;
  /** Takes what other gateways say to a room. */
  readonly onMessage: (room: Room, bytes: Uint8Array) => void;
}

/** The rooms that have members on this gateway. Only they are heard of from other gateways. */
export class Rooms {
  readonly #options: RoomsOptions;
  readonly #rooms = new Map<string, Room>();
  #created = 0;

  constructor(options: RoomsOptions) {
    this.#options = options;
  }

  find(address: RoomAddress): Room | undefined {
    return this.#rooms.get(roomKey(address));
  }

  /** One more member. */
  enter(address: RoomAddress): Room {
    const room = this.find(address) ?? this.#create(address);
    room.members++;
    return room;
  }

  leave(room: Room): void {
    if (--room.members > 0) return;
    this.#rooms.delete(roomKey(room));
    this.#options.metrics.rooms.dec();
    room.leaveBus();
  }

  #create({ topic, isPrivate }: RoomAddress): Room {
    const { bus, onMessage } = this.#options;
    const name = `r${++this.#created}`;
    const room: Room = {
      topic,
      isPrivate,
      listeners: createListeners(name),
      singles: new Set(),
      members: 0,
      leaveBus: bus.subscribe(broadcastAddress({ topic, isPrivate }), (bytes) => onMessage(room, bytes)),
    };
    this.#rooms.set(roomKey(room), room);
    this.#options.metrics.rooms.inc();
    return room;
  }
}

/** Names a room among the rooms of all gateways. */
export const roomKey = ({ topic, isPrivate }: RoomAddress): string =>
  `${isPrivate ? "private" : "public"}:${subtopicOf(topic)}`;

/** Where gateways tell each other the broadcasts of a room. */
export const broadcastAddress = (room: RoomAddress) => ({ kind: "broadcast", topic: roomKey(room) }) as const;
