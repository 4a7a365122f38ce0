import { parseLsn, zeroLsn, type Lsn } from "@walcast/model";
import type { Client } from "pg";
import { SlotMismatchError } from "../errors.ts";
import { explain } from "./preflight.ts";

/** One row of pg_replication_slots, as far as walcast looks at it. */
export interface Slot {
  readonly confirmedLsn: Lsn;
  readonly isActive: boolean;
  /** Bytes of WAL the server keeps for the slot. */
  readonly lagBytes: number;
  /** `lost`: WAL that it needed is gone; `unreserved`: it may go at the next checkpoint. */
  readonly walStatus: "reserved" | "extended" | "unreserved" | "lost";
}

const slotQuery = `
  SELECT plugin, slot_type, database = current_database() AS is_here, active,
         coalesce(wal_status, 'lost') AS wal_status, confirmed_flush_lsn::text AS confirmed,
         ((CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END)
           - confirmed_flush_lsn)::int8 AS lag_bytes
    FROM pg_replication_slots WHERE slot_name = $1`;

/** The slot's state; undefined when it does not exist. Throws SlotMismatchError when walcast cannot read from it. */
export async function inspectSlot(client: Client, name: string): Promise<Slot | undefined> {
  const { rows } = await client.query<{
    plugin: string | null;
    slot_type: string;
    is_here: boolean | null;
    active: boolean;
    wal_status: Slot["walStatus"];
    confirmed: string | null;
    lag_bytes: string | null;
  }>(slotQuery, [name]);
  const [row] = rows;
  if (row === undefined) return undefined;
  if (row.slot_type !== "logical") throw new SlotMismatchError(name, `is a ${row.slot_type} slot`);
  if (row.is_here !== true) throw new SlotMismatchError(name, "belongs to another database");
  if (row.plugin !== "pgoutput") throw new SlotMismatchError(name, `uses plugin ${row.plugin}, not pgoutput`);
  return {
    confirmedLsn: parseLsn(row.confirmed ?? "") ?? zeroLsn,
    isActive: row.active,
    lagBytes: Number(row.lag_bytes ?? 0),
    walStatus: row.wal_status,
  };
}

/** Creates the permanent slot; on PostgreSQL 17 and later one that standbys may keep in step (failover). */
export async function createSlot(client: Client, name: string, serverVersion: number): Promise<Slot> {
  const failover = serverVersion >= 17 ? ", failover => true" : "";
  try {
    await client.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput'${failover})`, [name]);
  } catch (error) {
    throw explain(error, name);
  }
  const created = await inspectSlot(client, name);
  if (created === undefined) throw new SlotMismatchError(name, "vanished when it was made");
  return created;
}

/** What walsenders of walcast are called in pg_stat_activity. */
export const replicationName = "walcast replication";

/**
 * Ends another walcast's walsender on the slot: whoever holds the leader lock may, since nobody else leads. Asked again at
 * each try: one that is blocked writing to a frozen client takes two, one to give up and one to give up saying so.
 */
export async function endStaleReader(client: Client, name: string): Promise<void> {
  await client.query(
    `SELECT pg_terminate_backend(s.active_pid)
       FROM pg_replication_slots s JOIN pg_stat_activity a ON a.pid = s.active_pid
      WHERE s.slot_name = $1 AND a.application_name = $2`,
    [name, replicationName],
  );
}

export async function dropSlot(client: Client, name: string): Promise<void> {
  try {
    await client.query("SELECT pg_drop_replication_slot($1)", [name]);
  } catch (error) {
    throw explain(error, name);
  }
}
