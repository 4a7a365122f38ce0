import { connectClient, endClient, type Database } from "@walcast/postgres";
import { describeError } from "@walcast/telemetry";
import type { Client } from "pg";
import type { MessagesFacts, PostgresFacts, PublicationFacts, SlotFacts, TableFacts, Unreachable } from "./facts.ts";

export interface PostgresQuestions {
  readonly database: Database;
  readonly slot: string;
  readonly publications: readonly string[];
  readonly now: () => number;
}

/** Asks PostgreSQL everything that the checks need. Nothing is changed. */
export async function collectPostgres(questions: PostgresQuestions): Promise<PostgresFacts | Unreachable> {
  let client: Client;
  try {
    client = await connectClient(questions.database, { applicationName: "walcast doctor" });
  } catch (error) {
    const { message, cause } = describeError(error);
    return { unreachable: cause === undefined ? message : `${message}: ${cause}` };
  }
  try {
    return {
      ...(await askServer(client)),
      clockSkewMs: await askClock(client, questions.now),
      slot: await askSlot(client, questions.slot),
      publications: await askPublications(client, questions.publications),
      tables: await askTables(client, questions.publications),
      clientRoles: await askRoles(client),
      messages: await askMessages(client),
    };
  } finally {
    await endClient(client);
  }
}

const serverQuery = `
  SELECT current_setting('server_version_num')::int / 10000 AS "version",
         current_user::text AS "role",
         (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user)
           OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication' AND pg_has_role(oid, 'MEMBER')) AS "mayReplicate",
         pg_is_in_recovery() AS "isInRecovery",
         current_setting('wal_level') AS "walLevel",
         current_setting('max_replication_slots')::int AS "maxSlots",
         (SELECT count(*)::int FROM pg_replication_slots) AS "usedSlots",
         current_setting('max_wal_senders')::int AS "maxSenders",
         (SELECT count(*)::int FROM pg_stat_replication) AS "usedSenders",
         (SELECT nullif(setting, '-1')::float8 * 1048576 FROM pg_settings WHERE name = 'max_slot_wal_keep_size')
           AS "slotKeepBytes",
         coalesce((SELECT max((CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END)
                              - restart_lsn) FROM pg_replication_slots), 0)::float8 AS "keptBytes",
         current_setting('synchronous_commit') = 'off' AS "isCommitAsync",
         (SELECT setting::int FROM pg_settings WHERE name = 'wal_sender_timeout') AS "senderTimeoutMs",
         coalesce((SELECT max(extract(epoch FROM now() - xact_start)) * 1000 FROM pg_stat_activity
                    WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()), 0)::float8 AS "oldestTransactionMs"`;

type ServerFacts = Omit<PostgresFacts, "clockSkewMs" | "slot" | "publications" | "tables" | "clientRoles" | "messages">;

async function askServer(client: Client): Promise<ServerFacts> {
  type Row = Omit<ServerFacts, "slotKeepBytes"> & { readonly slotKeepBytes: number | null };
  const { rows } = await client.query<Row>(serverQuery);
  const [row] = rows;
  if (row === undefined) throw new Error("PostgreSQL answered with no row");
  return { ...row, slotKeepBytes: row.slotKeepBytes ?? undefined };
}

/** As NTP: the answer is from half way between asking and hearing it. */
async function askClock(client: Client, now: () => number): Promise<number> {
  const askedAt = now();
  const { rows } = await client.query<{ at: number }>(
    "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS at",
  );
  return (rows[0]?.at ?? askedAt) - (askedAt + now()) / 2;
}

async function askSlot(client: Client, name: string): Promise<SlotFacts | undefined> {
  const { rows } = await client.query<Omit<SlotFacts, "plugin"> & { readonly plugin: string | null }>(
    `SELECT slot_type AS "type", plugin, coalesce(database = current_database(), false) AS "isHere", active AS "isActive",
            coalesce(wal_status, 'lost') AS "walStatus",
            coalesce((CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END)
              - confirmed_flush_lsn, 0)::float8 AS "lagBytes"
       FROM pg_replication_slots WHERE slot_name = $1`,
    [name],
  );
  const [row] = rows;
  return row === undefined ? undefined : { ...row, plugin: row.plugin ?? undefined };
}

async function askPublications(client: Client, names: readonly string[]): Promise<readonly PublicationFacts[]> {
  const { rows } = await client.query<PublicationFacts>(
    `SELECT pubname AS "name", pubviaroot AS "isViaRoot",
            array_remove(ARRAY[CASE WHEN NOT pubinsert THEN 'insert' END, CASE WHEN NOT pubupdate THEN 'update' END,
              CASE WHEN NOT pubdelete THEN 'delete' END, CASE WHEN NOT pubtruncate THEN 'truncate' END], NULL) AS "leftOut"
       FROM pg_publication WHERE pubname = ANY($1::text[])`,
    [names],
  );
  return rows;
}

/** Schema realtime is walcast's own, and Supabase's. */
async function askTables(client: Client, publications: readonly string[]): Promise<readonly TableFacts[]> {
  const { rows } = await client.query<TableFacts>(
    `SELECT c.oid::regclass::text AS "name",
            EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS "hasPrimaryKey",
            (SELECT coalesce(json_agg(json_build_object(
                      'name', s.oid::regclass::text,
                      'identity', CASE s.relreplident WHEN 'd' THEN 'default' WHEN 'n' THEN 'nothing' WHEN 'f' THEN 'full'
                                    ELSE 'index' END,
                      'hasPrimaryKey', EXISTS (SELECT FROM pg_index i WHERE i.indrelid = s.oid AND i.indisprimary))
                      ORDER BY s.oid::regclass::text), '[]')
               FROM pg_class s
              WHERE CASE c.relkind WHEN 'p' THEN s.oid IN (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf)
                      ELSE s.oid = c.oid END) AS "stored",
            EXISTS (SELECT FROM pg_publication_tables t JOIN pg_publication p ON p.pubname = t.pubname
                     WHERE t.schemaname = n.nspname AND t.tablename = c.relname AND p.pubname = ANY($1::text[])
                       AND (p.pubupdate OR p.pubdelete)) AS "areChangesPublished",
            c.relispartition AS "isPartition",
            c.relrowsecurity AS "isRowSecured",
            (SELECT count(*)::int FROM pg_policy p WHERE p.polrelid = c.oid AND p.polcmd IN ('r', '*')) AS "policies",
            ARRAY(SELECT r.rolname::text FROM pg_roles r
                   WHERE r.rolname IN ('anon', 'authenticated', 'service_role')
                     AND has_schema_privilege(r.oid, n.oid, 'USAGE')
                     AND has_any_column_privilege(r.oid, c.oid, 'SELECT') ORDER BY 1) AS "readers"
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE (n.nspname, c.relname) IN
              (SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = ANY($1::text[]))
        AND n.nspname <> 'realtime'
      ORDER BY 1`,
    [publications],
  );
  return rows;
}

/** Since PostgreSQL 16 a member may be one that cannot become the role, as whoever made it with CREATEROLE is. */
async function askRoles(client: Client): Promise<PostgresFacts["clientRoles"]> {
  const { rows } = await client.query<{ name: string; isOurs: boolean }>(
    `SELECT rolname::text AS "name",
            pg_has_role(oid, CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END)
              AS "isOurs"
       FROM pg_roles
      WHERE rolname IN ('anon', 'authenticated', 'service_role') ORDER BY 1`,
  );
  return rows;
}

/**
 * By bounds, which may be wider than those that `realtime.walcast_ensure_partitions` makes. Names are joined, since to look
 * them up asks for USAGE on the schema. Bounds are written and read in this session's DateStyle.
 */
async function askMessages(client: Client): Promise<MessagesFacts | undefined> {
  const { rows } = await client.query<MessagesFacts>(
    `WITH messages AS (
       SELECT c.oid
         FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_partitioned_table p ON p.partrelid = c.oid AND p.partstrat = 'r' AND p.partnatts = 1
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0] AND a.attname = 'inserted_at'
        WHERE n.nspname = 'realtime' AND c.relname = 'messages'
          AND EXISTS (SELECT FROM pg_proc
                       WHERE pronamespace = n.oid AND proname = 'walcast_ensure_partitions' AND pronargs = 0)
     ), bounds AS (
       SELECT pg_get_expr(c.relpartbound, c.oid) AS bound
         FROM messages m JOIN pg_inherits i ON i.inhparent = m.oid JOIN pg_class c ON c.oid = i.inhrelid
     ), ranges AS ( -- MINVALUE, MAXVALUE and DEFAULT have no text
       SELECT coalesce(substring(bound FROM 'FROM \\(''([^'']+)''')::timestamp, '-infinity') AS first,
              coalesce(substring(bound FROM 'TO \\(''([^'']+)''')::timestamp, 'infinity') AS beyond
         FROM bounds
     ), days AS (
       SELECT number, (now() AT TIME ZONE 'UTC')::date + number AS day FROM generate_series(0, 1) AS number
     )
     SELECT bool_or(is_covered) FILTER (WHERE number = 0) AS "hasToday",
            bool_or(is_covered) FILTER (WHERE number = 1) AS "hasTomorrow"
       FROM (SELECT number, EXISTS (SELECT FROM ranges WHERE first <= day AND beyond >= day + 1) AS is_covered
               FROM days) AS covered
     HAVING EXISTS (SELECT FROM messages)`,
  );
  return rows[0];
}
