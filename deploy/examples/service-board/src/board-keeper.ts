import { on, once } from "node:events";
import { backoffMs, pause } from "./backoff.ts";
import type { Board } from "./board.ts";
import { Database } from "./database.ts";
import { UpstreamError, type Upstream } from "./errors.ts";
import { Feed, type FeedOptions } from "./feed.ts";
import type { Log } from "./log.ts";
import { LISTS } from "./service.ts";

/** Whether the lists are what the table holds, and if not, whom the board is waiting for. */
export type Liveness =
  | { readonly tag: "live" }
  /** Nothing has failed yet when it is not said what the board waits for. */
  | { readonly tag: "reconnecting"; readonly waitingFor: Upstream | undefined };

export interface BoardKeeperOptions {
  readonly board: Board;
  readonly databaseUrl: string;
  readonly realtime: FeedOptions;
  readonly log: Log;
  /** Called after every change of the lists or of the liveness. */
  readonly onChange: () => void;
}

const STATUS_IDS = LISTS.map((list) => list.statusId);

/**
 * Keeps the board equal to the table.
 *
 *     connect to PostgreSQL ─► subscribe ─► all joins confirmed ─► read the table ─► live
 *            ▲                                                                        │
 *            └──────────── wait (backoff, jitter) ◄─── either connection lost ◄───────┘
 *
 * Subscribing comes before reading: the other way round, what commits between the two would never be seen. Whatever was
 * missed while a connection was gone is made up for by the read that every turn of this loop ends with.
 */
export class BoardKeeper {
  readonly #options: BoardKeeperOptions;
  #liveness: Liveness = { tag: "reconnecting", waitingFor: undefined };
  #failures = 0;
  #lastCause: string | undefined;

  constructor(options: BoardKeeperOptions) {
    this.#options = options;
  }

  get liveness(): Liveness {
    return this.#liveness;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#follow(signal);
      if (!signal.aborted) await pause(backoffMs(this.#failures), signal);
    }
  }

  /** One turn of the loop, until a connection is lost or the signal fires. */
  async #follow(signal: AbortSignal): Promise<void> {
    const { board, databaseUrl, realtime, onChange } = this.#options;
    const loss = new AbortController();
    const ended = AbortSignal.any([signal, loss.signal]);
    let database: Database | undefined;
    let feed: Feed | undefined;
    try {
      database = await Database.connect(databaseUrl, (error) => loss.abort(error));
      await database.prepare();
      ended.throwIfAborted();

      // Changes are recorded from before the first join until the rows are there, not only while they are being read:
      // PostgreSQL may stream a commit a moment before a SELECT can see it.
      board.beginRead();
      feed = new Feed(realtime);
      feed.events.once("lost", (error) => loss.abort(error));
      feed.events.on("change", (change) => {
        if (board.apply(change)) onChange();
      });
      // Created before anything is awaited, so that no report is lost between two waits.
      const staleReports = on(feed.events, "stale", { signal: ended });

      await once(feed.events, "subscribed", { signal: ended });
      await this.#read(database, ended);
      for await (const _report of staleReports) {
        board.beginRead();
        await this.#read(database, ended);
      }
    } catch (error) {
      // Losing one connection makes whatever waits fail in its own words; the loss itself is the cause to tell.
      const cause: unknown = ended.aborted ? ended.reason : error;
      if (signal.aborted) return;
      if (!(cause instanceof UpstreamError)) throw cause;
      this.#fail(cause);
    } finally {
      // Releases what may still wait for this turn: Node keeps a composed signal alive as long as somebody listens to it.
      loss.abort();
      await feed?.close();
      await database?.close();
    }
  }

  #fail({ message, remedy, upstream }: UpstreamError): void {
    this.#failures += 1;
    // What keeps failing in the same way is told ever more rarely: at the 1st, 2nd, 4th, 8th … time.
    const isMilestone = Number.isInteger(Math.log2(this.#failures));
    if (isMilestone || message !== this.#lastCause) {
      this.#options.log.warn("the board is not live", { cause: message, remedy, failures: this.#failures });
    }
    this.#lastCause = message;
    this.#become({ tag: "reconnecting", waitingFor: upstream });
  }

  async #read(database: Database, ended: AbortSignal): Promise<void> {
    const services = await database.readServices(STATUS_IDS);
    ended.throwIfAborted();
    this.#options.board.completeRead(services);
    this.#failures = 0;
    this.#options.log.info("the board is live", { services: services.length });
    this.#become({ tag: "live" });
  }

  #become(liveness: Liveness): void {
    this.#liveness = liveness;
    this.#options.onChange();
  }
}
