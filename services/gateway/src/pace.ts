import { setTimeout } from "node:timers/promises";

export interface PaceOptions {
  /** Work in one go, about. */
  readonly turnMs: number;
  /** For each millisecond of work so much rest. */
  readonly rest: number;
  readonly now?: () => number;
  readonly sleep?: (ms: number) => Promise<void>;
}

/**
 * Lets work that can wait have a part of the event loop's time, in short turns: between them everybody else has theirs. All
 * who share the work share one pace.
 */
export class Pace {
  readonly #options: PaceOptions;
  readonly #now: () => number;
  readonly #sleep: (ms: number) => Promise<void>;
  #workedMs = 0;
  #rest: Promise<void> | undefined;

  constructor(options: PaceOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#sleep = options.sleep ?? ((ms) => setTimeout(ms));
  }

  /** Does one piece of the work when there is time for it; a turn ends with the piece in which its time is used up. */
  async work<T>(piece: () => T): Promise<T> {
    // Looked at in the very microtask in which the piece is done: of many that waited not all may go on.
    while (this.#rest !== undefined) await this.#rest;
    const startedMs = this.#now();
    try {
      return piece();
    } finally {
      this.#workedMs += this.#now() - startedMs;
      if (this.#workedMs >= this.#options.turnMs) this.#rest = this.#sleepOff();
    }
  }

  async #sleepOff(): Promise<void> {
    await this.#sleep(this.#workedMs * this.#options.rest);
    this.#workedMs = 0;
    this.#rest = undefined;
  }
}
