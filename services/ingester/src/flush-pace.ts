/**
 * How often a batch may leave for the only reason that nothing more is readable. Each costs tens of microseconds here and in
 * the log, whatever it holds: a reader that is quicker than the walsender would spend a core on batches of a few rows, and on
 * a small machine take it from the walsender. A burst passes at once, so that changes which are not very many never wait.
 */
export class FlushPace {
  readonly #perMs: number;
  readonly #burst: number;
  #credit: number;
  #countedMs: number;

  constructor({ perSecond, burst, nowMs }: { perSecond: number; burst: number; nowMs: number }) {
    this.#perMs = perSecond / 1_000;
    this.#burst = burst;
    this.#credit = burst;
    this.#countedMs = nowMs;
  }

  /** Milliseconds until a batch may leave; 0: it may now, and is counted. */
  take(nowMs: number): number {
    this.#credit = Math.min(this.#burst, this.#credit + (nowMs - this.#countedMs) * this.#perMs);
    this.#countedMs = nowMs;
    if (this.#credit < 1) return (1 - this.#credit) / this.#perMs;
    this.#credit--;
    return 0;
  }
}
