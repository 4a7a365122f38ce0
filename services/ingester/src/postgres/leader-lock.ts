import { sleep } from "@walcast/lifecycle";
import { connectClient, DatabaseUnavailableError, endClient, type Database } from "@walcast/postgres";
import type { Client, QueryConfig } from "pg";
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
  /** Asked while another leads: it holds the lock and is silent, so its backends are to be ended. */
  readonly isLeaderSilent: () => boolean;
  /** The silent leader's backends were ended: of how many connections, and which ones. */
  readonly onTakeover: (pids: readonly number[]) => void;
}

const lockKey = "hashtextextended('walcast ' || $1, 0)";

/** A server that is frozen, or cut off, neither answers nor ends the connection: a standby would look well for ever. */
const answerLimitMs = 10_000;

const askFor = (slot: string): QueryConfig & { readonly query_timeout: number } => ({
  text: `SELECT pg_try_advisory_lock(${lockKey}) AS is_leader`,
  values: [slot],
  query_timeout: answerLimitMs,
});

/** Whoever holds the lock, and whoever reads the slot. pg_locks shows a 64-bit advisory key as two halves. */
const endHolderQuery = `
  WITH holders AS (
    SELECT pid FROM pg_locks
     WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND pid <> pg_backend_pid()
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND ((classid::int8 << 32) | objid::int8) = ${lockKey}
    UNION
    SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL
  )
  SELECT pid, pg_terminate_backend(pid) AS is_ended FROM holders`;

/** Waits for the lock; undefined when the signal fires first. Throws DatabaseUnavailableError. */
export async function acquireLeaderLock(options: LeaderLockOptions): Promise<LeaderLock | undefined> {
  const { database, slot, signal } = options;
  const lost = new AbortController();
  const onLost = (cause: Error): void => lost.abort(new LeadershipLostError({ cause }));
  const client = await connectClient(database, { applicationName: "walcast ingester", onLost });
  client.once("end", () => lost.abort(new LeadershipLostError()));
  const release = (): Promise<void> => endClient(client);
  try {
    while (!signal.aborted) {
      const { rows } = await client
        .query<{ is_leader: boolean }>(askFor(slot))
        .catch((cause: unknown) => Promise.reject(new DatabaseUnavailableError({ cause })));
      if (rows[0]?.is_leader === true) return { client, lost: lost.signal, release };
      options.onStandby();
      if (options.isLeaderSilent()) {
        const ended = await client.query<{ pid: number }>(endHolderQuery, [slot]);
        options.onTakeover(ended.rows.map(({ pid }) => pid));
      }
      await sleep(askEveryMs, signal);
    }
  } catch (error) {
    await release();
    throw error;
  }
  await release();
  return undefined;
}
