import { randomBytes } from "node:crypto";
import type { Bus } from "@walcast/bus";
import { sleep } from "@walcast/lifecycle";
import { unreachable } from "@walcast/model";
import {
  diffText,
  LeaseHolder,
  type Placement,
  type PresenceDiff,
  type PresenceEntry,
  type PresenceStore,
} from "@walcast/presence";
import { describeError, type Logger } from "@walcast/telemetry";
import type { PublishFrame } from "./broadcaster.ts";
import type { Limits } from "./limits.ts";
import type { GatewayMetrics } from "./metrics.ts";
import { decodePresenceMessage, encodePresenceMessage, type PresenceMessage } from "./presence-message.ts";
import { createPresenceRoom, presenceAddress, type PresenceRoom } from "./presence-room.ts";
import { roomKey, type RoomAddress } from "./room.ts";

export interface PresenceOptions {
  readonly store: PresenceStore;
  readonly bus: Bus;
  readonly publish: PublishFrame;
  readonly leaseMs: number;
  readonly limits: Limits;
  readonly metrics: GatewayMetrics;
  readonly log: Logger;
  /** Told when this gateway's members cannot be stored, and when they can (undefined). */
  readonly onTrouble: (trouble: Error | undefined) => void;
  readonly backoff: (failures: number, signal: AbortSignal) => Promise<void>;
}

/** What a channel tracks. */
export interface Tracked {
  readonly key: string;
  readonly meta: string;
  /** What the channel has tracked so far. */
  readonly former: PresenceEntry | undefined;
}

const deadLimit = 1_000;
/** Rooms that are compared with the store at once. */
const comparedAtOnce = 100;
const flushLimitMs = 1_000;
/** A third of a lease each. */
const ticksBetweenComparisons = 9;

/**
 * Who is present, for the channels of this gateway. A change is shown to them at once, stored, and told to other gateways when
 * it is stored: a gateway that listens first and reads the store then has missed nothing. What is lost on the way all the same
 * (an outage, a gateway that died between two steps) is found by comparing, and shown as what changed.
 */
export class Presence {
  readonly #options: PresenceOptions;
  readonly #gateway = randomBytes(9).toString("base64url");
  readonly #holder: LeaseHolder;
  readonly #rooms = new Map<string, PresenceRoom>();
  /** Topics of which others have not heard everything. */
  readonly #unheard = new Set<string>();
  /** The last leases that were found dead, and so what their gateways say under them. */
  readonly #dead = new Set<string>();
  readonly #stopped = new AbortController();
  #running: Promise<unknown> | undefined;
  #announced: Promise<void> = Promise.resolve();
  #isBusAway = false;
  #created = 0;
  #versions = 0;

  constructor(options: PresenceOptions) {
    this.#options = options;
    this.#holder = new LeaseHolder({
      ...options,
      gateway: this.#gateway,
      onEntered: () => this.#makeEqual(),
      onSwept: (lease, topics) => this.#bury(lease, topics),
    });
  }

  start(): void {
    const { signal } = this.#stopped;
    this.#running ??= Promise.all([this.#holder.run(signal), this.#compareNowAndThen(signal)]).catch((error: unknown) =>
      this.#options.log.error(describeError(error), "presence ended"),
    );
  }

  /** Others are told what they have not heard yet; then the lease is given back. */
  async close(): Promise<void> {
    await this.#announced;
    this.#stopped.abort();
    await this.#running;
    await this.#options.store.close();
  }

  /** Other gateways are out of reach, or can be reached (undefined). */
  busTrouble(trouble: Error | undefined): void {
    this.#isBusAway = trouble !== undefined;
    if (trouble === undefined) this.#makeEqual();
  }

  /** One more member. */
  enter(address: RoomAddress): PresenceRoom {
    const room = this.#rooms.get(roomKey(address)) ?? this.#create(address);
    room.members++;
    return room;
  }

  leave(room: PresenceRoom): void {
    if (--room.members > 0) return;
    this.#rooms.delete(room.key);
    room.leaveBus();
  }

  /** Runs it as soon as it is known who is in the room, now if it is; returns how to give up. */
  whenKnown(room: PresenceRoom, run: () => void): () => void {
    if (room.isKnown) run();
    else room.waiting.add(run);
    return () => void room.waiting.delete(run);
  }

  track(room: PresenceRoom, { key, meta, former }: Tracked): PresenceEntry {
    const version = ++this.#versions;
    const ref = `${this.#gateway}-${version.toString(36)}`;
    const previousRef = former?.ref;
    const entry: PresenceEntry = {
      id: former?.id ?? ref,
      gateway: this.#gateway,
      key,
      ref,
      ...(previousRef === undefined ? {} : { previousRef }),
      version,
      meta,
    };
    if (former === undefined) this.#options.metrics.presenceEntries.inc();
    // Of what is ours nobody has to be asked.
    this.#show(room, room.replica.put(entry, { ...this.#holder.placement, isStored: true }));
    const placing = this.#holder.put({ topic: room.key, entry });
    this.#announce(room.key, placing, (placement) => ({ tag: "put", entry, ...placement }));
    return entry;
  }

  untrack(room: PresenceRoom, entry: PresenceEntry): void {
    this.#options.metrics.presenceEntries.dec();
    this.#show(room, room.replica.remove(entry.id));
    const removing = this.#holder.remove({ topic: room.key, entry });
    this.#announce(room.key, removing, () => ({ tag: "remove", id: entry.id }));
  }

  #create(address: RoomAddress): PresenceRoom {
    const room = createPresenceRoom(address, `p${++this.#created}`);
    this.#rooms.set(room.key, room);
    room.leaveBus = this.#options.bus.subscribe(presenceAddress(room.key), (bytes) => this.#hear(room, bytes));
    void this.#compare(room);
    return room;
  }

  /** To the channels that listen here: one frame for each serializer. */
  #show(room: PresenceRoom, diff: PresenceDiff | undefined): void {
    if (diff === undefined) return;
    const { publish, metrics, limits } = this.#options;
    let payload: string | undefined;
    for (const { serializer, name, count } of room.listeners) {
      if (count === 0) continue;
      payload ??= diffText(diff);
      const { head, tail } = serializer.fanOut(room.topic, "presence_diff");
      publish(name, `${head}${payload}${tail}`);
      metrics.presenceDeliveries.inc(count);
      limits.count("presenceEvents", count);
    }
  }

  #hear(room: PresenceRoom, bytes: Uint8Array): void {
    const message = decodePresenceMessage(bytes);
    if (message === undefined) this.#options.metrics.presenceMalformed.inc();
    else if (room.heard !== undefined) room.heard.push(message);
    else this.#apply(room, message);
  }

  #apply(room: PresenceRoom, message: PresenceMessage): void {
    const { replica } = room;
    if (message.tag === "gone") this.#noteDead(message.lease);
    else if (message.tag !== "remove" && this.#dead.has(message.lease)) return undefined; // it will say it again
    switch (message.tag) {
      case "put":
        return this.#show(room, replica.put(message.entry, message));
      case "remove":
        return this.#show(room, replica.remove(message.id));
      case "all":
        return this.#show(room, replica.replace(message.gateway, message.entries, message));
      case "gone":
        // Of its own members a gateway knows best: it may have been taken for dead.
        if (message.lease.startsWith(`${this.#gateway}.`)) return undefined;
        return this.#show(room, replica.forget(message.lease));
      default:
        return unreachable(message);
    }
  }

  #noteDead(lease: string): void {
    this.#dead.add(lease);
    const [oldest] = this.#dead;
    if (oldest !== undefined && this.#dead.size > deadLimit) this.#dead.delete(oldest);
  }

  /** In the order of the changes, each one when the store has it or cannot have it now. */
  #announce(topic: string, change: Promise<Placement>, message: (placement: Placement) => PresenceMessage): void {
    this.#announced = Promise.all([this.#announced, change]).then(([, placement]) =>
      this.#publish(topic, message(placement)),
    );
  }

  #publish(topic: string, message: PresenceMessage): void {
    try {
      const outcome = this.#options.bus.publish(presenceAddress(topic), encodePresenceMessage(message));
      if (outcome === "away") this.#unheard.add(topic);
    } catch (error) {
      this.#options.log.error({ topic, ...describeError(error) }, "telling other gateways of presence failed");
    }
  }

  /** After something was away: others are told all of ours, and theirs is compared with the store. */
  #makeEqual(): void {
    this.#announced = this.#announced.then(() => this.#announceAll());
    void this.#compareWhere(() => true);
  }

  #announceAll(): void {
    const own = new Map<string, PresenceEntry[]>([...this.#unheard].map((topic) => [topic, []]));
    this.#unheard.clear();
    for (const { topic, entry } of this.#holder.entries) {
      const entries = own.get(topic);
      if (entries === undefined) own.set(topic, [entry]);
      else entries.push(entry);
    }
    for (const [topic, entries] of own) {
      this.#publish(topic, { tag: "all", gateway: this.#gateway, entries, ...this.#holder.placement });
    }
  }

  #bury(lease: string, topics: readonly string[]): void {
    this.#options.log.info({ lease, topics: topics.length }, "removed the presence of a gateway that is gone");
    const gone: PresenceMessage = { tag: "gone", lease };
    for (const topic of topics) {
      const room = this.#rooms.get(topic);
      if (room !== undefined) this.#apply(room, gone);
      this.#publish(topic, gone);
    }
  }

  async #compareNowAndThen(signal: AbortSignal): Promise<void> {
    for (let tick = 1; ; tick++) {
      await sleep(this.#options.leaseMs / 3, signal);
      if (signal.aborted) return;
      // While nobody can be heard, the store is all there is.
      const isTime = this.#isBusAway || tick % ticksBetweenComparisons === 0;
      await this.#compareWhere((room) => isTime || room.replica.isUnsettled);
    }
  }

  async #compareWhere(isWanted: (room: PresenceRoom) => boolean): Promise<void> {
    const rooms = [...this.#rooms.values()].filter(isWanted);
    for (let i = 0; i < rooms.length; i += comparedAtOnce) {
      await Promise.all(rooms.slice(i, i + comparedAtOnce).map((room) => this.#compare(room)));
    }
  }

  #compare(room: PresenceRoom): Promise<void> {
    return (room.comparing = room.comparing.then(() => this.#readAndCompare(room)));
  }

  async #readAndCompare(room: PresenceRoom): Promise<void> {
    const { store, bus, leaseMs, log } = this.#options;
    if (room.members === 0) return;
    room.heard = [];
    try {
      // From here on nothing of this topic is missed. A bus that is silent is compared with again when it is back.
      if (!room.isKnown) await Promise.race([bus.flush(), sleep(flushLimitMs, this.#stopped.signal)]);
      const snapshot = await store.snapshot(room.key);
      const options = { gateway: this.#gateway, nowMs: performance.now(), graceMs: leaseMs };
      const diff = room.replica.reconcile(snapshot, options);
      // Whoever is in a room when it becomes known did not come just now.
      if (room.isKnown) this.#show(room, diff);
    } catch (error) {
      log.debug({ topic: room.topic, ...describeError(error) }, "presence could not be compared with the store");
    }
    const { heard } = room;
    room.heard = undefined;
    const isNew = !room.isKnown;
    room.isKnown = true;
    for (const message of heard) this.#apply(room, message);
    if (!isNew) return;
    for (const run of room.waiting) run();
    room.waiting.clear();
  }
}
