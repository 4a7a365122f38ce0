import type { Broadcast, StoredBroadcast } from "@walcast/protocol";
import type { History } from "@walcast/row-security";
import type { Reach } from "./reach.ts";
import type { Room, Rooms, Single } from "./room.ts";

/** What a channel takes of its replay, in this order. */
export interface ReplayTarget {
  readonly stored: (message: StoredBroadcast) => void;
  readonly live: (broadcast: Broadcast) => void;
  /** Every live copy of what was replayed has come: the channel may hear what all others hear. */
  readonly over: () => void;
}

/** What a join asks for. */
export interface WantedReplay {
  readonly sinceMs: number;
  readonly limit: number;
}

export interface ReplayOptions {
  readonly wanted: WantedReplay;
  /** Entered already. */
  readonly room: Room;
  readonly rooms: Rooms;
  readonly reach: Reach;
  readonly gatheredLimitBytes?: number;
}

/**
 * The broadcasts from before a join, without a hole or a copy: live ones from the database are gathered before the stored
 * ones are read, and the channel is told singly until the live copies of all that was stored have come.
 *
 *   gathering ─begin─► singly ─(the log has come so far)─► over
 */
export class Replay implements Single {
  readonly wanted: WantedReplay;
  readonly #options: ReplayOptions;
  #messages: readonly StoredBroadcast[] = [];
  /** What their live copies carry. */
  #copies: ReadonlySet<string> = new Set();
  #gathered: Broadcast[] = [];
  #gatheredBytes = 0;
  #target: ReplayTarget | undefined;
  #isCaughtUp = false;
  #isOver = false;
  #stopWaiting: () => void = () => undefined;

  constructor(options: ReplayOptions) {
    this.#options = options;
    this.wanted = options.wanted;
    options.room.singles.add(this);
  }

  get room(): Room {
    return this.#options.room;
  }

  get hasBegun(): boolean {
    return this.#target !== undefined;
  }

  /** What was stored; another time for another token, until it begins. */
  hold({ messages, upTo }: History): void {
    if (this.hasBegun || this.#isOver) return;
    this.#messages = messages;
    this.#copies = new Set(messages.map(({ id }) => JSON.stringify({ id })));
    this.#isCaughtUp = false;
    this.#stopWaiting();
    this.#stopWaiting = this.#options.reach.wait(upTo, () => {
      this.#isCaughtUp = true;
      this.#finish();
    });
  }

  /** A broadcast to the channel's room. */
  hear(broadcast: Broadcast): void {
    if (this.#target !== undefined) return this.#tell(this.#target, broadcast);
    // What clients say is for those who are there; this one has not joined yet.
    if (broadcast.tag !== "event" || broadcast.metadata === undefined) return;
    this.#gatheredBytes += broadcast.payload.length;
    if (this.#isTooMuch()) this.#gathered = [];
    else this.#gathered.push(broadcast);
  }

  /** False when more has come in the meantime than is kept: then nothing is told. */
  begin(target: ReplayTarget): boolean {
    if (this.#isTooMuch()) return false;
    this.#target = target;
    for (const message of this.#messages) target.stored(message);
    for (const broadcast of this.#gathered) this.#tell(target, broadcast);
    this.#messages = [];
    this.#gathered = [];
    this.#finish();
    return true;
  }

  /** There is no channel, or not any more. */
  abandon(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stopWaiting();
    const { room, rooms } = this.#options;
    room.singles.delete(this);
    rooms.leave(room);
  }

  #tell(target: ReplayTarget, broadcast: Broadcast): void {
    const isCopy = broadcast.tag === "event" && this.#copies.has(broadcast.metadata ?? "");
    if (!isCopy) target.live(broadcast);
  }

  #finish(): void {
    if (this.#isOver || this.#target === undefined || !this.#isCaughtUp) return;
    this.abandon();
    this.#target.over();
  }

  #isTooMuch(): boolean {
    return this.#gatheredBytes > (this.#options.gatheredLimitBytes ?? gatheredLimitBytes);
  }
}

/** Of payloads that come between the look at what is stored and the answer to the join, which may wait for 20 seconds. */
const gatheredLimitBytes = 16 * 2 ** 20;

/** Does what takes the replay over; where that fails nobody else would let go of it. */
export function orAbandon<T>(replay: Replay | undefined, takeOver: () => T): T {
  try {
    return takeOver();
  } catch (error) {
    replay?.abandon();
    throw error;
  }
}
