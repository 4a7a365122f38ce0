import { sqlStateOf } from "@walcast/postgres";
import { escapeIdentifier, type Client } from "pg";
import {
  PublicationMissingError,
  PublicationTooYoungError,
  ReplicationLimitError,
  ReplicationPrivilegeError,
  SlotBusyError,
  WalLevelError,
} from "../errors.ts";

/** Refuses a server that cannot stream, with what to do about it. Returns the major version. */
export async function checkServer(client: Client): Promise<number> {
  const { rows } = await client.query<{ wal_level: string; version: string }>(
    "SELECT current_setting('wal_level') AS wal_level, current_setting('server_version_num') AS version",
  );
  const [row] = rows;
  if (row?.wal_level !== "logical") throw new WalLevelError(row?.wal_level ?? "unknown");
  return Math.trunc(Number(row.version) / 10_000);
}

/** All publications must exist; in development a missing one is created for all tables. */
export async function ensurePublications(
  client: Client,
  { publications, create }: { readonly publications: readonly string[]; readonly create: boolean },
): Promise<void> {
  const { rows } = await client.query<{ name: string }>(
    "SELECT pubname AS name FROM pg_publication WHERE pubname = ANY($1::text[])",
    [publications],
  );
  const missing = publications.filter((name) => !rows.some((row) => row.name === name));
  if (missing.length === 0) return;
  if (!create) throw new PublicationMissingError(missing);
  for (const name of missing) await client.query(`CREATE PUBLICATION ${escapeIdentifier(name)} FOR ALL TABLES`);
}

/** A replication error of PostgreSQL in walcast's words, decided by SQLSTATE; others stay as they are. */
export function explain(error: unknown, slot: string): unknown {
  switch (sqlStateOf(error)) {
    case "42501": // insufficient_privilege
      return new ReplicationPrivilegeError({ cause: error });
    case "42704": // undefined_object: pgoutput looks publications up as they were when a change was written
      return new PublicationTooYoungError({ cause: error });
    case "55006": // object_in_use
      return new SlotBusyError(slot, { cause: error });
    case "53400": // configuration_limit_exceeded: all replication slots are in use
    case "53300": // too_many_connections: no walsender is free
      return new ReplicationLimitError({ cause: error });
    default:
      return error;
  }
}
