import { sleep, type Service } from "@walcast/lifecycle";
import { connectClient, endClient, type Database } from "@walcast/postgres";
import type pg from "pg";

export interface JanitorReport {
  readonly made: number;
  readonly dropped: number;
}

export interface JanitorOptions {
  readonly database: Database;
  /** Messages older than this are dropped, by whole days. */
  readonly keepHours: number;
  readonly intervalMs: number;
  readonly onReport?: (report: JanitorReport) => void;
  readonly onTrouble?: (trouble: unknown) => void;
}

type Asking = Pick<pg.ClientBase, "query">;

/** Makes the partitions for the next days. Returns how many were missing. */
export async function ensurePartitions(client: Asking): Promise<number> {
  const { rows } = await client.query<{ made: number }>("SELECT realtime.walcast_ensure_partitions() AS made");
  return rows[0]?.made ?? 0;
}

/** Drops the partitions of days that are over for longer than that. Returns how many there were. */
export async function dropOldPartitions(client: Asking, keepHours = 72): Promise<number> {
  const { rows } = await client.query<{ dropped: number }>(
    "SELECT realtime.walcast_drop_old_partitions(make_interval(hours => $1)) AS dropped",
    [keepHours],
  );
  return rows[0]?.dropped ?? 0;
}

/** Keeps the partitions, at start and in intervals. Several at once do no harm. */
export class Janitor implements Service {
  readonly name = "janitor of realtime.messages";
  readonly #options: JanitorOptions;

  constructor(options: JanitorOptions) {
    this.#options = options;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { intervalMs, onReport, onTrouble } = this.#options;
    while (!signal.aborted) {
      try {
        const report = await this.#tidy();
        onReport?.(report);
      } catch (error) {
        onTrouble?.(error); // there are partitions for days; the next round tries again
      }
      await sleep(intervalMs, signal);
    }
  }

  /** Hours lie between the rounds: no connection is kept for them. */
  async #tidy(): Promise<JanitorReport> {
    const client = await connectClient(this.#options.database, { applicationName: "walcast janitor" });
    try {
      const made = await ensurePartitions(client);
      return { made, dropped: await dropOldPartitions(client, this.#options.keepHours) };
    } finally {
      await endClient(client);
    }
  }
}
