import { DatabaseUnavailableError, sqlStateOf, type Database } from "@walcast/postgres";
import pg from "pg";
import { QueueFullError, TooManyConnectionsError } from "./errors.ts";

export interface QuestionPoolOptions {
  readonly database: Database;
  /** Connections at most. */
  readonly size: number;
  /** Questions that may wait for one. */
  readonly queueLimit: number;
  /** How long a statement may take; the questions themselves tell PostgreSQL. */
  readonly timeoutMs: number;
  readonly applicationName?: string;
}

export interface AskOptions {
  readonly signal?: AbortSignal | undefined;
  /** In place of the pool's own, for who is no client and waits once at most. */
  readonly queueLimit?: number;
}

interface Waiting {
  readonly begin: () => void;
}

/** Kept from whatever is slow; in a pool of one there is nothing to keep. */
const reserve = 1;

/** The connection answers nothing at all for this long beyond the statement's own limit: it is given up. */
const graceMs = 2_000;

/**
 * The connections on which questions are asked as clients' roles. Both what runs and what waits is bounded. Questions of one
 * share, as those about one table, never take all the connections, and shares take turns: a slow policy delays who depends
 * on it, and leaves room for others.
 */
export class QuestionPool {
  readonly #options: QuestionPoolOptions;
  readonly #pool: pg.Pool;
  readonly #queues = new Map<string, Waiting[]>();
  readonly #runningOf = new Map<string, number>();
  #running = 0;
  #waiting = 0;

  constructor(options: QuestionPoolOptions) {
    this.#options = options;
    this.#pool = new pg.Pool({
      ...options.database,
      application_name: options.applicationName ?? "walcast policies",
      max: options.size,
      query_timeout: options.timeoutMs + graceMs,
      // Statements of one question are written at once, so that it takes one round trip.
      pipeline: true,
    });
    this.#pool.on("error", () => undefined); // an idle connection was lost; the next question makes another
    this.#pool.on("connect", (client) => client.on("error", () => undefined)); // one at work: its question is told
  }

  get timeoutMs(): number {
    return this.#options.timeoutMs;
  }

  /** Questions that run and wait now, for metrics. */
  get load(): { readonly running: number; readonly waiting: number } {
    return { running: this.#running, waiting: this.#waiting };
  }

  /** Throws QueueFullError, TooManyConnectionsError, DatabaseUnavailableError, the signal's reason, and what `use` throws. */
  async ask<T>(
    share: string,
    use: (client: pg.ClientBase) => Promise<T>,
    { signal, queueLimit = this.#options.queueLimit }: AskOptions = {},
  ): Promise<T> {
    await this.#turn(share, { signal, queueLimit });
    try {
      return await this.#withClient(use);
    } finally {
      this.#done(share);
    }
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }

  async #withClient<T>(use: (client: pg.ClientBase) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect().catch((cause: unknown) => {
      throw sqlStateOf(cause) === "53300"
        ? new TooManyConnectionsError({ cause })
        : new DatabaseUnavailableError({ cause });
    });
    let isLost = false;
    try {
      return await use(client);
    } catch (error) {
      isLost = error instanceof DatabaseUnavailableError;
      throw error;
    } finally {
      client.release(isLost);
    }
  }

  async #turn(share: string, { signal, queueLimit }: AskOptions & { readonly queueLimit: number }): Promise<void> {
    signal?.throwIfAborted();
    if (this.#waiting === 0 && this.#mayRun(share)) return this.#begin(share);
    if (this.#waiting >= queueLimit) throw new QueueFullError(queueLimit);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting: Waiting = { begin: resolve };
    const giveUp = (): void => {
      if (this.#remove(share, waiting)) reject(signal?.reason);
    };
    signal?.addEventListener("abort", giveUp, { once: true });
    const queue = this.#queues.get(share) ?? [];
    queue.push(waiting);
    this.#queues.set(share, queue);
    this.#waiting++;
    this.#next(); // those who wait may all be of shares that have enough
    try {
      await promise;
    } finally {
      signal?.removeEventListener("abort", giveUp);
    }
  }

  #mayRun(share: string): boolean {
    const { size } = this.#options;
    const limit = Math.max(1, size - reserve);
    return this.#running < size && (this.#runningOf.get(share) ?? 0) < limit;
  }

  #begin(share: string): void {
    this.#running++;
    this.#runningOf.set(share, (this.#runningOf.get(share) ?? 0) + 1);
  }

  #done(share: string): void {
    this.#running--;
    const left = (this.#runningOf.get(share) ?? 1) - 1;
    if (left === 0) this.#runningOf.delete(share);
    else this.#runningOf.set(share, left);
    this.#next();
  }

  /** The share that waited longest since its last turn comes first: it stands first in the map. */
  #next(): void {
    for (const [share, queue] of this.#queues) {
      if (!this.#mayRun(share)) continue;
      const [first] = queue;
      if (first === undefined) continue;
      this.#remove(share, first);
      if (queue.length > 0) {
        this.#queues.delete(share);
        this.#queues.set(share, queue);
      }
      this.#begin(share);
      first.begin();
    }
  }

  #remove(share: string, waiting: Waiting): boolean {
    const queue = this.#queues.get(share);
    const at = queue?.indexOf(waiting) ?? -1;
    if (queue === undefined || at === -1) return false;
    queue.splice(at, 1);
    if (queue.length === 0) this.#queues.delete(share);
    this.#waiting--;
    return true;
  }
}
