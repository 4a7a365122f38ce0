import type { LoggedBatch } from "@walcast/change-log";
import { comparePositions, type Position } from "@walcast/model";

/**
 * The last batches that were read, without a hole between them: who comes back after a short while is served from here,
 * without asking the log.
 */
export class RecentBatches {
  readonly #limitBytes: number;
  #batches: LoggedBatch[] = [];
  /** When each of them came, by the monotonic clock. */
  #arrivals: number[] = [];
  #startedMs = performance.now();
  #bytes = 0;
  /** Everything after this is here. */
  #start: Position | undefined;
  #end: Position | undefined;

  constructor({ limitBytes }: { readonly limitBytes: number }) {
    this.#limitBytes = limitBytes;
  }

  /** The last change of the newest batch. */
  get end(): Position | undefined {
    return this.#end;
  }

  /** Everything after this is here; `undefined` when nothing is known. */
  get start(): Position | undefined {
    return this.#start;
  }

  /** For how long everything that came is here, in milliseconds. */
  get spanMs(): number {
    return performance.now() - this.#startedMs;
  }

  /** In order. */
  get batches(): Iterable<LoggedBatch> {
    return this.#batches;
  }

  /** Forgets everything: reading begins, or goes on behind a hole. */
  restart(at: Position | undefined): void {
    this.#batches = [];
    this.#arrivals = [];
    this.#startedMs = performance.now();
    this.#bytes = 0;
    this.#start = this.#end = at;
  }

  /** The next batch. */
  add(batch: LoggedBatch): void {
    this.#start ??= batch.header.previous ?? batch.header.first;
    this.#end = batch.header.last;
    this.#batches.push(batch);
    this.#arrivals.push(performance.now());
    this.#bytes += batch.bytes;
    let dropped = 0;
    while (this.#bytes > this.#limitBytes) {
      const oldest = this.#batches[dropped++];
      if (oldest === undefined) break;
      this.#bytes -= oldest.bytes;
      this.#start = oldest.header.last;
    }
    if (dropped === 0) return;
    this.#batches.splice(0, dropped);
    this.#startedMs = this.#arrivals.splice(0, dropped).at(-1) ?? this.#startedMs;
  }

  /** Whether every change after the position is here. */
  covers(position: Position): boolean {
    return this.#start !== undefined && comparePositions(position, this.#start) >= 0;
  }

  /** The first batch with a change after the position. */
  next(position: Position): LoggedBatch | undefined {
    let low = 0;
    let high = this.#batches.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const batch = this.#batches[middle];
      if (batch !== undefined && comparePositions(batch.header.last, position) > 0) high = middle;
      else low = middle + 1;
    }
    return this.#batches[low];
  }
}
