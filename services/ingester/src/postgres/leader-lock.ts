import { sleep } from "@walcast/lifecycle";
import { connectClient, endClient, type Database } from "@walcast/postgres";
import type { Client } from "pg";
import { LeadershipLostError } from "../errors.ts";

/** How often a standby asks: a waiting pg_advisory_lock() would hold a snapshot and keep vacuum from its work. */
const askEveryMs = 250;

/** A session advisory lock in the source database: whoever holds it leads; the server frees it with the connection. */
export interface LeaderLock {
  /** The connection that holds the lock, for the leader's other questions. */
  readonly client: Client;
  /** Fires when the connection is lost, and the lock with it. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}

export interface LeaderLockOptions {
  readonly database: Database;
  readonly slot: string;
  readonly signal: AbortSignal;
  /** The connection stands and another ingester leads. */
  readonly onStandby: () => void;
}

/** Waits for the lock; undefined when the signal fires first. Throws DatabaseUnavailableError. */
export async function acquireLeaderLock(options: LeaderLockOptions): Promise<LeaderLock | undefined> {
  const lost = new AbortController();
  const onLost = (cause: Error): void => lost.abort(new LeadershipLostError({ cause }));
  const client = await connectClient(options.database, { applicationName: "walcast ingester", onLost });
  client.once("end", () => lost.abort(new LeadershipLostError()));
  const release = (): Promise<void> => endClient(client);
  try {
    while (!options.signal.aborted) {
      const { rows } = await client.query<{ is_leader: boolean }>(
        "SELECT pg_try_advisory_lock(hashtextextended('walcast ' || $1, 0)) AS is_leader",
        [options.slot],
      );
      if (rows[0]?.is_leader === true) return { client, lost: lost.signal, release };
      options.onStandby();
      await sleep(askEveryMs, options.signal);
    }
  } catch (error) {
    await release();
    throw error;
  }
  await release();
  return undefined;
}
