import type { Lsn, Position } from "@walcast/model";

interface Waiting {
  readonly lsn: Lsn;
  readonly arrived: () => void;
}

export interface ReachOptions {
  /** Makes the log move on, for when the database is quiet; it may fail, and is asked for again. */
  readonly nudge: () => Promise<unknown>;
  /** Somebody waits this long before the log is nudged, and between nudges. */
  readonly nudgeMs?: number;
}

/** How far the log has been read: whoever needs to know that everything up to some place has come waits here. */
export class Reach {
  readonly #options: ReachOptions;
  readonly #waiting = new Set<Waiting>();
  #lsn: Lsn | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ReachOptions) {
    this.#options = options;
  }

  /** Everything up to the position has been delivered. */
  arrived({ commitLsn }: Position): void {
    this.#lsn = commitLsn;
    for (const one of this.#waiting) {
      if (one.lsn > commitLsn) continue;
      this.#waiting.delete(one);
      one.arrived();
    }
    if (this.#waiting.size === 0) this.#rest();
  }

  /**
   * Calls back, once, when all commits before the place have been delivered: at once where they have. The returned function
   * calls it off.
   */
  wait(lsn: Lsn, arrived: () => void): () => void {
    if (this.#lsn !== undefined && this.#lsn >= lsn) {
      arrived();
      return () => undefined;
    }
    const waiting = { lsn, arrived };
    this.#waiting.add(waiting);
    this.#timer ??= setInterval(() => void this.#nudge(), this.#options.nudgeMs ?? 1_000).unref();
    return () => {
      this.#waiting.delete(waiting);
      if (this.#waiting.size === 0) this.#rest();
    };
  }

  async #nudge(): Promise<void> {
    try {
      await this.#options.nudge();
    } catch {
      // The database is away, or does not let us: who waits goes on waiting, and the next change helps as well.
    }
  }

  #rest(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
