import type { ChangeLog, LoggedBatch } from "@walcast/change-log";
import { backoff } from "@walcast/lifecycle";
import type { Lsn } from "@walcast/model";
import { describeError, type Logger } from "@walcast/telemetry";
import { CatchUp, type Follower, type ReadersFor } from "./catch-up.ts";
import type { Delivery } from "./delivery.ts";
import type { GatewayMetrics } from "./metrics.ts";
import { Pace } from "./pace.ts";
import { RecentBatches } from "./recent-batches.ts";

export interface ResumerOptions {
  readonly delivery: Delivery;
  /** Where rights are asked for. */
  readonly readersFor?: ReadersFor;
  readonly metrics: GatewayMetrics;
  readonly log: Logger;
  /** The newest changes are kept in memory up to this size. */
  readonly recentBytes: number;
  /** Channels that may begin to catch up, per second. */
  readonly perSecond: number;
}

/** What came in within this time catches up together, and shares what is read and built. */
const gatherMs = 50;
/** Ways through the log at the same time; those who are slow go aside, and others begin. */
const concurrency = 4;

/**
 * Of the event loop's time, for all who catch up together. A frame of somebody who is live waits for one turn at most, and
 * their computers have the rest to take in what was sent.
 */
const paceOptions = { turnMs: 2, rest: 1 };

interface Run {
  readonly changeLog: ChangeLog;
  readonly signal: AbortSignal;
  /** It left another way for being slow. */
  readonly isAside?: boolean;
}

/**
 * Brings channels that come back with a position to the present: from memory where it reaches that far, from the log
 * otherwise, and then live, in order, without a gap and without a repeat. Those that come at once share the way.
 */
export class Resumer {
  readonly recent: RecentBatches;
  readonly #options: ResumerOptions;
  readonly #pace = new Pace(paceOptions);
  #changeLog: ChangeLog | undefined;
  #signal: AbortSignal | undefined;
  /** In the order they came. */
  #waiting: Follower[] = [];
  #running = 0;
  #startedMs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #arrival = Promise.withResolvers<void>();
  /** They may wait for as long as nothing is written to the log: nothing of them may grow meanwhile. */
  readonly #passing = new Set<{ readonly lsn: Lsn; readonly resolve: () => void }>();

  constructor(options: ResumerOptions) {
    this.#options = options;
    this.recent = new RecentBatches({ limitBytes: options.recentBytes });
  }

  /** Where to read from until the signal fires. */
  begin(changeLog: ChangeLog, signal: AbortSignal): void {
    this.#changeLog = changeLog;
    this.#signal = signal;
    this.#schedule();
  }

  /** The gateway has delivered one more batch to those who are live. */
  arrived(batch: LoggedBatch): void {
    this.recent.add(batch);
    this.#arrival.resolve();
    this.#arrival = Promise.withResolvers();
    for (const { lsn, resolve } of this.#passing) if (this.#hasPassed(lsn)) resolve();
  }

  /** Resolves when everything that was committed before the place in the WAL has arrived, or the signal fires. */
  async passed(lsn: Lsn, signal: AbortSignal): Promise<void> {
    if (this.#hasPassed(lsn) || signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const passing = { lsn, resolve };
    this.#passing.add(passing);
    const stop = (): void => resolve();
    signal.addEventListener("abort", stop, { once: true });
    await promise;
    signal.removeEventListener("abort", stop);
    this.#passing.delete(passing);
  }

  #hasPassed(lsn: Lsn): boolean {
    return this.recent.end !== undefined && this.recent.end.commitLsn >= lsn;
  }

  /** Takes the channel on its way. `follower.live` is called in the very turn in which it has had everything so far. */
  resume(follower: Follower): void {
    this.#waiting.push(follower);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#waiting.length === 0) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#start();
    }, gatherMs);
  }

  #start(): void {
    const [changeLog, signal] = [this.#changeLog, this.#signal];
    if (changeLog === undefined || signal === undefined || signal.aborted) return; // `begin` comes back to them
    this.#waiting = this.#waiting.filter(({ signal: ended }) => !ended.aborted);
    const followers = this.#running < concurrency ? this.#waiting.splice(0, this.#admitted()) : [];
    this.#schedule();
    if (followers.length > 0) void this.#run(followers, { changeLog, signal });
  }

  /** How many may begin now: what the rate allows for the time since the last ones began, a second's worth at most. */
  #admitted(): number {
    const nowMs = performance.now();
    const seconds = Math.min(1, (nowMs - this.#startedMs) / 1_000);
    this.#startedMs = nowMs;
    return Math.max(1, Math.floor(this.#options.perSecond * seconds));
  }

  async #run(followers: readonly Follower[], { changeLog, signal, isAside = false }: Run): Promise<void> {
    const { delivery, readersFor = () => undefined, metrics, log } = this.#options;
    const counted = isAside ? 0 : 1;
    this.#running += counted;
    const catchUp = new CatchUp({
      followers,
      changeLog,
      recent: this.recent,
      delivery,
      readersFor,
      pace: this.#pace,
      arrival: () => this.#arrival.promise,
      onGap: () => metrics.resumeGaps.inc(),
      // It goes on alone, so that the others need not wait.
      onSlow: (follower) => void this.#run([follower], { changeLog, signal, isAside: true }),
    });
    try {
      await catchUp.run(signal);
    } catch (error) {
      if (!signal.aborted) log.warn(describeError(error), "catching up was interrupted and is tried again");
      await backoff(1, signal);
    } finally {
      this.#running -= counted;
      this.#waiting.push(...catchUp.remaining);
      metrics.resumes.inc(followers.length - catchUp.remaining.length);
      this.#schedule();
    }
  }
}
