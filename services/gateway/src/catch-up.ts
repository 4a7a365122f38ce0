import type { ChangeLog, LogEntry } from "@walcast/change-log";
import { sleep } from "@walcast/lifecycle";
import { comparePositions, type Position } from "@walcast/model";
import type { Delivery } from "./delivery.ts";
import { Groups, type Audience, type Group } from "./group.ts";
import type { Emit } from "./fan-out.ts";
import type { Pace } from "./pace.ts";
import type { Readers, ReadersOptions } from "./readers.ts";
import type { RecentBatches } from "./recent-batches.ts";
import { transactionsOf } from "./snapshot-start.ts";

/** A channel on its way to the present. */
export interface Follower {
  readonly audience: Audience;
  /** It has had everything up to here. */
  position: Position;
  /** Changes of such a transaction are not for it: it has had the rows that they made. */
  readonly omits?: ((xid: number) => boolean) | undefined;
  /** Its channel has ended. */
  readonly signal: AbortSignal;
  /** Sends frames in one write, where there is more than one. */
  send(frames: readonly Buffer[]): void;
  /** What was given to the socket and has not left this process. */
  unsentBytes(): number;
  /** Changes between its position and `end` are gone for good; what follows `end` is there. */
  gap(end: Position): void;
  /** It has had everything up to this moment: from here on it is one of its group. */
  live(): void;
  /** It does not read. */
  tooSlow(): void;
  /** Its rights cannot be told. */
  fail(reason: string): void;
}

export interface CatchUpOptions {
  readonly followers: readonly Follower[];
  readonly changeLog: Pick<ChangeLog, "read">;
  readonly recent: RecentBatches;
  readonly delivery: Delivery;
  /** Decides for followers that have a reader. */
  readonly readersFor: ReadersFor;
  /** How much of the time sending may take; shared by all ways. */
  readonly pace: Pace;
  /** Resolves with the next batch that the gateway delivers. */
  readonly arrival: () => Promise<void>;
  readonly onGap: () => void;
  /** The follower holds the others up and is taken out. */
  readonly onSlow: (follower: Follower) => void;
}

/** Lines of their own, so that those who catch up and those who are live do not wait for each other. */
export type ReadersFor = (
  options: Pick<ReadersOptions, "split" | "fail" | "behindLimit" | "signal">,
) => Readers | undefined;

/** Frames of a change go to a socket only while less than this waits in it. */
const unsentLimit = 4 * 1024 * 1024;
/** Batches that memory has are taken together up to this size, so that many small ones are not sent one by one. */
const togetherBytes = 64 * 1024;
/** How long others wait for one that reads slowly, and how long one that is alone may take. */
const patienceMs = { together: 250, alone: 10_000 };
/** So many readers at most leave the others for being slow to decide about. */
const few = 16;
/** How long a position beyond the present is waited for: a log that lost its end is written again from WAL in seconds. */
const beyondMs = 10_000;

/**
 * One way through the log for several channels: each change is looked at once and each frame built once for all that want
 * the same, and each follower gets those after its own position.
 */
export class CatchUp {
  readonly #options: CatchUpOptions;
  readonly #groups = new Groups();
  /** Those who are not live yet. */
  readonly #groupOf = new Map<Follower, Group>();
  /** Where the way has come. */
  #at: Position;
  #readers: Readers | undefined;
  readonly #isAnyOmitting: boolean;

  constructor(options: CatchUpOptions) {
    this.#options = options;
    const [first, ...others] = options.followers;
    if (first === undefined) throw new Error("nobody follows");
    this.#isAnyOmitting = options.followers.some(({ omits }) => omits !== undefined);
    this.#at = others.reduce((at, { position }) => earlier(at, position), first.position);
    for (const follower of options.followers) this.#groupOf.set(follower, this.#groups.enter(follower.audience));
  }

  /** Those who are not live yet. */
  get remaining(): Follower[] {
    return [...this.#groupOf.keys()];
  }

  /** Resolves when all are live, or have ended. Rejects when the log cannot be read. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#dropEnded();
      if (this.#groupOf.size === 0) return;
      if (!this.#options.recent.covers(this.#at)) await this.#readLog(signal);
      else if (await this.#readRecent(signal)) return;
    }
  }

  /** From the log until memory reaches as far back. */
  async #readLog(signal: AbortSignal): Promise<void> {
    const { changeLog, recent } = this.#options;
    const enough = new AbortController();
    const until = AbortSignal.any([signal, enough.signal]);
    const reading = await changeLog.read({ from: { after: this.#at }, signal: until });
    const entries = reading[Symbol.asyncIterator]();
    try {
      while (!recent.covers(this.#at) && !signal.aborted) {
        const next = await entries.next();
        if (next.done === true) return;
        const entry = next.value;
        if (entry.tag === "gap") {
          for (const follower of this.remaining) {
            if (comparePositions(follower.position, entry.end) < 0) this.#tellGap(follower, entry.end);
          }
          continue;
        }
        await this.#take([entry], signal);
        if (this.#groupOf.size === 0) return;
      }
    } finally {
      enough.abort();
      await entries.return?.();
    }
  }

  /** From memory to the present. True when all are live. */
  async #readRecent(signal: AbortSignal): Promise<boolean> {
    const { recent, arrival } = this.#options;
    const startedMs = performance.now();
    while (!signal.aborted && recent.covers(this.#at)) {
      const entries = this.#recentEntries();
      if (entries.length > 0) {
        await this.#take(entries, signal);
        continue;
      }
      await this.#goLive();
      if (this.#groupOf.size === 0) return true;
      if (recent.next(this.#at) !== undefined) continue;
      await Promise.race([arrival(), sleep(1_000, signal)]);
      this.#dropEnded();
      if (performance.now() - startedMs > beyondMs) this.#giveUpBeyond();
    }
    return this.#groupOf.size === 0;
  }

  /** Positions that the log will not reach: of another log, or of a future that was lost. */
  #giveUpBeyond(): void {
    const { end } = this.#options.recent;
    if (end === undefined) return;
    for (const follower of this.remaining) {
      if (comparePositions(follower.position, end) <= 0) continue;
      this.#tellGap(follower, end);
      follower.position = end;
    }
    this.#at = end;
  }

  #tellGap(follower: Follower, end: Position): void {
    follower.gap(end);
    this.#options.onGap();
  }

  /** What memory has after this place. */
  #recentEntries(): readonly Entry[] {
    const entries: Entry[] = [];
    let bytes = 0;
    for (let after = this.#at; bytes < togetherBytes;) {
      const batch = this.#options.recent.next(after);
      if (batch === undefined) break;
      entries.push({ batch, after });
      bytes += batch.bytes;
      after = batch.header.last;
    }
    return entries;
  }

  async #take(entries: readonly Entry[], signal: AbortSignal): Promise<void> {
    const { delivery, pace } = this.#options;
    await this.#waitForSlow(signal);
    const frames = new Map<Group, PlacedFrame[]>();
    const emit: Emit = (group, frame, position) => {
      const given = frames.get(group);
      if (given === undefined) frames.set(group, [{ frame, position }]);
      else given.push({ frame, position });
    };
    this.#readers ??= this.#options.readersFor({
      split: () => new Map(), // each follower stands alone already
      fail: (group, reason) => this.#membersOf(group).forEach((follower) => follower.fail(reason)),
      behindLimit: Number.POSITIVE_INFINITY, // all that is taken at once is decided before more is
      signal,
    });
    const xids = this.#isAnyOmitting ? xidsOf(entries) : none;
    const recipients = { groups: this.#groups, readers: this.#readers, emit };
    let at = this.#at;
    for (const { batch, after } of entries) {
      await pace.work(() => delivery.deliver(batch, after, recipients));
      at = later(at, batch.header.last);
    }
    await this.#decided(signal);
    for (const follower of this.remaining) {
      if (signal.aborted) return;
      await pace.work(() => this.#send(follower, { frames, xids, at })); // those who are live come first
    }
    this.#at = at;
    this.#dropEnded();
    await new Promise(setImmediate); // also where no time was used up
  }

  #send(follower: Follower, { frames, xids, at }: Taken): void {
    const group = this.#groupOf.get(follower);
    if (group === undefined || follower.signal.aborted) return;
    const { omits } = follower;
    const missed = (frames.get(group) ?? [])
      .filter(({ position }) => comparePositions(follower.position, position) < 0)
      .filter(({ position }) => omits?.(xids.get(position.commitLsn) ?? 0) !== true)
      .map(({ frame }) => frame);
    if (missed.length > 0) follower.send(missed);
    follower.position = later(follower.position, at);
    this.#goLiveIfPresent(follower);
  }

  /** A few whose policies take long do not hold the others up: they go on alone, from where they are. */
  async #decided(signal: AbortSignal): Promise<void> {
    const readers = this.#readers;
    if (readers === undefined) return;
    while (!signal.aborted) {
      const { waiting } = readers;
      if (waiting.size === 0) return;
      const isSettled = new AbortController();
      const patience = sleep(patienceMs.together, AbortSignal.any([signal, isSettled.signal]));
      await Promise.race([readers.idle(), patience]);
      isSettled.abort();
      // Where one more was decided meanwhile it goes on; where very many wait it is the database that is slow.
      if (readers.waiting.size < waiting.size || waiting.size > few) continue;
      const slow = this.remaining.filter(({ audience: { reader } }) => reader && waiting.has(reader.key));
      if (slow.length === this.remaining.length) continue;
      for (const key of waiting) readers.abandon(key);
      for (const follower of slow) {
        this.#remove(follower);
        this.#options.onSlow(follower);
      }
    }
  }

  async #goLive(): Promise<void> {
    for (const follower of this.remaining) await this.#options.pace.work(() => this.#goLiveIfPresent(follower));
  }

  /** In the very turn in which it has had everything: nothing is awaited between looking for what comes next and this. */
  #goLiveIfPresent(follower: Follower): void {
    const { recent } = this.#options;
    const { end } = recent;
    if (!this.#groupOf.has(follower) || follower.signal.aborted) return;
    if (end === undefined || comparePositions(follower.position, end) > 0) return; // the gateway is still to get there
    if (!recent.covers(follower.position) || recent.next(follower.position) !== undefined) return;
    this.#remove(follower);
    follower.live();
  }

  async #waitForSlow(signal: AbortSignal): Promise<void> {
    const isAlone = this.#options.followers.length === 1;
    const deadline = performance.now() + (isAlone ? patienceMs.alone : patienceMs.together);
    for (;;) {
      const slow = this.remaining.filter(
        (follower) => !follower.signal.aborted && follower.unsentBytes() > unsentLimit,
      );
      if (slow.length === 0 || signal.aborted) return;
      if (performance.now() > deadline) {
        for (const follower of slow) {
          this.#remove(follower);
          if (isAlone) follower.tooSlow();
          else this.#options.onSlow(follower);
        }
        return;
      }
      await sleep(5, signal);
    }
  }

  #dropEnded(): void {
    for (const follower of this.remaining) if (follower.signal.aborted) this.#remove(follower);
  }

  #membersOf(group: Group): Follower[] {
    return this.remaining.filter((follower) => this.#groupOf.get(follower) === group);
  }

  #remove(follower: Follower): void {
    const group = this.#groupOf.get(follower);
    if (group === undefined) return;
    this.#groups.leave(group);
    this.#groupOf.delete(follower);
  }
}

type Entry = Pick<LogEntry & { tag: "batch" }, "batch" | "after">;

/** What was read together. */
interface Taken {
  readonly frames: ReadonlyMap<Group, readonly PlacedFrame[]>;
  /** The transactions, by their commit LSNs, where any follower leaves some out. */
  readonly xids: ReadonlyMap<bigint, number>;
  /** Where it ends. */
  readonly at: Position;
}

interface PlacedFrame {
  readonly frame: Buffer;
  readonly position: Position;
}

const none: ReadonlyMap<bigint, number> = new Map();

const earlier = (a: Position, b: Position): Position => (comparePositions(a, b) <= 0 ? a : b);
const later = (a: Position, b: Position): Position => (comparePositions(a, b) >= 0 ? a : b);

const xidsOf = (entries: readonly Entry[]): ReadonlyMap<bigint, number> =>
  new Map(entries.flatMap(({ batch }) => transactionsOf(batch).map(({ commitLsn, xid }) => [commitLsn, xid])));
