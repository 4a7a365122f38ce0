import { maxLsn, type Lsn, type Position } from "@walcast/model";

interface Checkpoint {
  readonly lsn: Lsn;
  /** Safe once every batch up to this number is stored. */
  readonly batch: number;
  /** The newest change before it, where it is known. */
  readonly change: Position | undefined;
}

interface Published {
  readonly lsn: Lsn;
  readonly atMs: number;
  /** When the entry was made; younger LSNs took it over since. */
  readonly sinceMs: number;
  readonly change: Position | undefined;
}

/**
 * Which LSN may be confirmed to PostgreSQL, after which it forgets what is before it:
 *
 *   received ≥ published (the log acknowledged every batch before it) ≥ flushed (and that is longer ago than the log may
 *   hold it in memory only)
 *
 * Pure: batches are numbered by the caller, and time is an argument. Only ends of transactions, and keepalives that come
 * while nothing is in flight, can be confirmed: Begin carries the LSN of a commit we have not seen yet.
 */
export class Acknowledger {
  readonly #syncIntervalMs: number;
  readonly #checkpoints: Checkpoint[] = [];
  readonly #published: Published[] = [];
  readonly #storedOutOfOrder = new Set<number>();
  #storedUpTo = 0;
  #receivedLsn: Lsn;
  #publishedLsn: Lsn;
  #flushedLsn: Lsn;
  #publishedChange: Position | undefined;
  #flushedChange: Position | undefined;

  /** `confirmedLsn`: where the slot stands. A server before 18 would move it back if told a smaller one. */
  constructor({ syncIntervalMs, confirmedLsn }: { readonly syncIntervalMs: number; readonly confirmedLsn: Lsn }) {
    this.#syncIntervalMs = syncIntervalMs;
    this.#receivedLsn = this.#publishedLsn = this.#flushedLsn = confirmedLsn;
  }

  get receivedLsn(): Lsn {
    return this.#receivedLsn;
  }

  get publishedLsn(): Lsn {
    return this.#publishedLsn;
  }

  /** A change that the log held and that PostgreSQL may have forgotten: the newest that is known of. */
  get flushedChange(): Position | undefined {
    return this.#flushedChange;
  }

  /**
   * Everything before `lsn` is read, and its changes are in the batches up to number `lastBatch` (0: none yet); `change`: the
   * newest of them, where that is known.
   */
  received(lsn: Lsn, lastBatch: number, nowMs: number, change?: Position): void {
    if (lsn <= this.#receivedLsn) return;
    this.#receivedLsn = lsn;
    const former = this.#checkpoints.at(-1)?.batch === lastBatch ? this.#checkpoints.pop() : undefined;
    this.#checkpoints.push({ lsn, batch: lastBatch, change: change ?? former?.change });
    this.#publish(nowMs);
  }

  /** The log acknowledged batch `number`. Any order: a position counts once all batches before it are stored too. */
  stored(number: number, nowMs: number): void {
    this.#storedOutOfOrder.add(number);
    while (this.#storedOutOfOrder.delete(this.#storedUpTo + 1)) this.#storedUpTo++;
    this.#publish(nowMs);
  }

  /** What may be confirmed now. Never goes back. */
  flushedLsn(nowMs: number): Lsn {
    for (let oldest = this.#published[0]; oldest !== undefined; oldest = this.#published[0]) {
      if (nowMs - oldest.atMs < this.#syncIntervalMs) break;
      this.#flushedLsn = maxLsn(this.#flushedLsn, oldest.lsn);
      this.#flushedChange = oldest.change;
      this.#published.shift();
    }
    return this.#flushedLsn;
  }

  #publish(nowMs: number): void {
    for (let oldest = this.#checkpoints[0]; oldest !== undefined; oldest = this.#checkpoints[0]) {
      if (oldest.batch > this.#storedUpTo) break;
      this.#checkpoints.shift();
      this.#publishedLsn = oldest.lsn;
      this.#publishedChange = oldest.change ?? this.#publishedChange;
    }
    const newest = this.#published.at(-1);
    if (this.#publishedLsn === (newest?.lsn ?? this.#flushedLsn)) return;
    // One entry per hundredth of the interval keeps the list short; a younger LSN in an older entry would be confirmed early.
    const entry = { lsn: this.#publishedLsn, atMs: nowMs, change: this.#publishedChange };
    if (newest !== undefined && nowMs - newest.sinceMs < this.#syncIntervalMs / 100) {
      this.#published[this.#published.length - 1] = { ...entry, sinceMs: newest.sinceMs };
    } else {
      this.#published.push({ ...entry, sinceMs: nowMs });
    }
  }
}
