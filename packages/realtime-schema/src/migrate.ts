import { sqlStateOf } from "@walcast/postgres";
import type { ClientBase } from "pg";
import { MigrationPrivilegeError, UnknownMigrationError } from "./errors.ts";
import { ensurePartitions } from "./janitor.ts";
import { grantToClients, prepareGateway, publishMessages } from "./grants.ts";
import { readMigrations, type Migration } from "./migrations.ts";
import { createRoles } from "./roles.ts";

export interface MigrateOptions {
  /** Makes `anon`, `authenticated` and `service_role` where they are missing. */
  readonly createRoles?: boolean;
  /** The role that gateways connect as, unless it owns `realtime.messages`: it is given what asking for rights needs. */
  readonly gatewayRole?: string;
  /** Publications that are to carry `realtime.messages`, for broadcasts from the database. */
  readonly publications?: readonly string[];
}

/** What was done. Everything was there already when all of it is empty. */
export interface MigrationReport {
  readonly applied: readonly number[];
  /** Objects somebody else made, as Supabase: they are used as they are, and never dropped. */
  readonly adopted: readonly string[];
  readonly createdRoles: readonly string[];
  readonly published: readonly string[];
}

interface AppliedRow {
  readonly version: number;
  readonly is_ours: boolean;
}

/**
 * Brings schema `realtime` to the newest version, in one transaction: all of it or nothing. It may be run at any time, and by
 * several at once. Objects that are there already stay as they are. Throws MigrationPrivilegeError, UnknownMigrationError,
 * MessagesPublicationMissingError.
 */
export async function migrate(client: ClientBase, options: MigrateOptions = {}): Promise<MigrationReport> {
  return await inTransaction(client, async () => {
    const createdRoles = options.createRoles === true ? await createRoles(client) : [];
    await prepareHistory(client);
    const history = await readHistory(client);
    const applied: number[] = [];
    const adopted: string[] = [];
    for (const migration of pending(history)) {
      const isOurs = !(await exists(client, migration));
      if (isOurs) await make(migration.identity, () => client.query(migration.sql));
      else adopted.push(migration.identity);
      await client.query("INSERT INTO realtime.walcast_migrations (version, object, is_ours) VALUES ($1, $2, $3)", [
        migration.version,
        migration.identity,
        isOurs,
      ]);
      applied.push(migration.version);
    }
    if (await isOurs(client, "realtime.messages")) {
      await grantToClients(client);
      await ensurePartitions(client);
    }
    if (options.gatewayRole !== undefined) await prepareGateway(client, options.gatewayRole);
    const published = await publishMessages(client, options.publications ?? []);
    return { applied, adopted, createdRoles, published };
  });
}

/** The versions that `migrate` would apply. Nothing is changed. */
export async function pendingMigrations(client: ClientBase): Promise<readonly number[]> {
  return pending(await readHistory(client)).map(({ version }) => version);
}

/**
 * Undoes what is newer than a version; 0 undoes everything. What somebody else made stays, and so does a schema with things
 * of others in it. Roles and grants to others stay, too. Throws MigrationPrivilegeError.
 */
export async function revert(client: ClientBase, toVersion: number): Promise<readonly number[]> {
  return await inTransaction(client, async () => {
    const history = await readHistory(client);
    const undone: number[] = [];
    for (const { version, kind, identity } of readMigrations().toReversed()) {
      const row = history.find((applied) => applied.version === version);
      if (row === undefined || version <= toVersion) continue;
      if (row.is_ours) await make(identity, () => client.query(`DROP ${kind} IF EXISTS ${identity}`));
      await client.query("DELETE FROM realtime.walcast_migrations WHERE version = $1", [version]);
      undone.push(version);
    }
    if (toVersion <= 0 && history.length > 0) {
      const isSchemaOurs = history.find(({ version }) => version === 0)?.is_ours === true;
      await client.query("DROP TABLE realtime.walcast_migrations");
      if (isSchemaOurs && (await isEmpty(client))) await client.query("DROP SCHEMA realtime");
    }
    return undone;
  });
}

/** Two who migrate at once wait for each other: the lock ends with the transaction. */
async function inTransaction<T>(client: ClientBase, work: () => Promise<T>): Promise<T> {
  await client.query("BEGIN");
  try {
    await client.query("SELECT pg_advisory_xact_lock(hashtextextended('walcast migrations', 0))");
    const result = await work();
    await client.query("COMMIT");
    return result;
  } catch (error) {
    await client.query("ROLLBACK");
    if (sqlStateOf(error) !== "42501" || error instanceof MigrationPrivilegeError) throw error;
    throw new MigrationPrivilegeError(
      "all it needs",
      "migrate as the role that did before, or the owner of schema realtime",
      {
        cause: error,
      },
    );
  }
}

/** The schema and our own list of what was done; Supabase's is `realtime.schema_migrations`. */
async function prepareHistory(client: ClientBase): Promise<void> {
  const { hasSchema, hasHistory } = await look(client);
  if (hasHistory) return;
  const isSchemaOurs = !hasSchema;
  const grant = "GRANT CREATE ON DATABASE … TO it";
  if (isSchemaOurs) await make("schema realtime", () => client.query("CREATE SCHEMA realtime"), grant);
  await make("realtime.walcast_migrations", () =>
    client.query(`
      CREATE TABLE realtime.walcast_migrations (
        version integer PRIMARY KEY,
        object text NOT NULL,
        is_ours boolean NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
      )`),
  );
  await client.query("INSERT INTO realtime.walcast_migrations VALUES (0, 'realtime', $1)", [isSchemaOurs]);
}

/** By the catalog's rows, which need no privilege on the schema. */
async function look(client: ClientBase): Promise<{ readonly hasSchema: boolean; readonly hasHistory: boolean }> {
  const { rows } = await client.query<{ has_history: boolean }>(`
    SELECT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'walcast_migrations') AS has_history
      FROM pg_namespace n WHERE n.nspname = 'realtime'`);
  return { hasSchema: rows.length > 0, hasHistory: rows[0]?.has_history === true };
}

async function readHistory(client: ClientBase): Promise<readonly AppliedRow[]> {
  if (!(await look(client)).hasHistory) return [];
  const { rows } = await client.query<AppliedRow>("SELECT version, is_ours FROM realtime.walcast_migrations");
  const newest = Math.max(0, ...rows.map(({ version }) => version));
  if (newest > Math.max(...readMigrations().map(({ version }) => version))) throw new UnknownMigrationError(newest);
  return rows;
}

const pending = (history: readonly AppliedRow[]): readonly Migration[] =>
  readMigrations().filter(({ version }) => !history.some((applied) => applied.version === version));

async function exists(client: ClientBase, { kind, identity }: Migration): Promise<boolean> {
  const look = kind === "table" ? "to_regclass" : "to_regprocedure";
  const { rows } = await client.query<{ found: unknown }>(`SELECT ${look}($1) AS found`, [identity]);
  return rows[0]?.found !== null;
}

async function isOurs(client: ClientBase, identity: string): Promise<boolean> {
  const { rows } = await client.query<{ is_ours: boolean }>(
    "SELECT is_ours FROM realtime.walcast_migrations WHERE object = $1",
    [identity],
  );
  return rows[0]?.is_ours === true;
}

async function isEmpty(client: ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ used: boolean }>(`
    SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'realtime'::regnamespace)
        OR EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'realtime'::regnamespace)
        OR EXISTS (SELECT FROM pg_type WHERE typnamespace = 'realtime'::regnamespace) AS used`);
  return rows[0]?.used === false;
}

async function make(
  object: string,
  statement: () => Promise<unknown>,
  remedy = "GRANT CREATE ON SCHEMA realtime TO it, or migrate as the schema's owner",
): Promise<void> {
  try {
    await statement();
  } catch (cause) {
    if (sqlStateOf(cause) !== "42501") throw cause;
    throw new MigrationPrivilegeError(object, remedy, { cause });
  }
}
