import type { Bus } from "@walcast/bus";
import type { Broadcast, BroadcastFrame, Serializer } from "@walcast/protocol";
import { decodeBusMessage, encodeBusMessage } from "./bus-message.ts";
import type { Limits } from "./limits.ts";
import type { DropReason, GatewayMetrics } from "./metrics.ts";
import { broadcastAddress, Rooms, type Room, type RoomAddress, type Single } from "./room.ts";

/** Publishes a frame to sockets subscribed to a native topic: a string as text, bytes as a binary frame. */
export type PublishFrame = (name: string, frame: string | Uint8Array) => void;

/** The channel a broadcast comes from, when that does not want it back. */
export interface Sender {
  readonly serializer: Serializer;
  /** Publishes to all sockets but its own. */
  readonly publish: PublishFrame;
  /** It is one of the listeners that the frame is for. */
  readonly isListening: boolean;
  /** Where it is told singly. */
  readonly single?: Single | undefined;
}

export interface BroadcasterOptions {
  readonly bus: Bus;
  readonly publish: PublishFrame;
  readonly metrics: GatewayMetrics;
  readonly limits: Limits;
  /** A larger payload is refused. */
  readonly payloadLimitBytes: number;
}

/**
 * Takes broadcasts to the members of their rooms: one frame for each serializer, published natively, whatever the number of
 * members; other gateways are told once. Everything happens in the call, so the messages of one sender keep their order.
 */
export class Broadcaster {
  readonly rooms: Rooms;
  readonly #options: BroadcasterOptions;

  constructor(options: BroadcasterOptions) {
    this.#options = options;
    const { bus, metrics } = options;
    this.rooms = new Rooms({
      bus,
      metrics,
      onMessage: (room, bytes) => {
        const broadcast = decodeBusMessage(bytes);
        if (broadcast === undefined) return this.drop("malformed");
        metrics.broadcastsReceived.inc({ origin: "gateway" });
        return this.#deliver(room, broadcast, undefined);
      },
    });
  }

  /** To everybody in the room, here and on other gateways. */
  send(to: RoomAddress, broadcast: Broadcast, sender?: Sender): void {
    const room = this.rooms.find(to);
    if (room !== undefined) this.#deliver(room, broadcast, sender);
    const outcome = this.#options.bus.publish(broadcastAddress(to), encodeBusMessage(broadcast));
    if (outcome === "away") this.drop("busAway");
  }

  /** To everybody in the room here; other gateways have the broadcast from where we have it. */
  sendHere(to: RoomAddress, broadcast: Broadcast): void {
    this.#options.metrics.broadcastsReceived.inc({ origin: "database" });
    if (this.isTooLarge(broadcast)) return this.drop("payloadTooLarge");
    const room = this.rooms.find(to);
    if (room !== undefined) this.#deliver(room, broadcast, undefined);
  }

  /** By the payload's bytes, a stand-in for the peer's external term (protocol.md 4.4). */
  isTooLarge({ payload }: Pick<Broadcast, "payload">): boolean {
    const bytes = typeof payload === "string" ? Buffer.byteLength(payload) : payload.length;
    return bytes > this.#options.payloadLimitBytes;
  }

  /** `count`: how many did not get it. */
  drop(reason: DropReason, count = 1): void {
    this.#options.metrics.broadcastsDropped.inc({ reason }, count);
  }

  /** To one channel alone: a text frame is a string, a binary one bytes. */
  deliverTo(encoded: BroadcastFrame, send: (frame: string | Uint8Array) => void): void {
    const { metrics, limits } = this.#options;
    if (encoded.tag === "undeliverable") return this.drop(encoded.reason);
    send(encoded.frame);
    metrics.broadcastDeliveries.inc();
    limits.count("events");
  }

  #deliver(room: Room, broadcast: Broadcast, sender: Sender | undefined): void {
    const { publish, metrics, limits } = this.#options;
    for (const { serializer, name, count } of room.listeners) {
      const isSenders = sender?.serializer === serializer;
      const hearing = isSenders && sender.isListening ? count - 1 : count;
      if (hearing === 0) continue;
      const encoded = serializer.broadcast(room.topic, broadcast);
      if (encoded.tag === "undeliverable") {
        this.drop(encoded.reason, hearing);
        continue;
      }
      // A socket that is subscribed to nothing cannot publish, and one that does not hear the room need not be left out.
      (isSenders && sender.isListening ? sender.publish : publish)(name, encoded.frame);
      metrics.broadcastDeliveries.inc(hearing);
      limits.count("events", hearing);
    }
    for (const single of room.singles) if (single !== sender?.single) single.hear(broadcast);
  }
}
