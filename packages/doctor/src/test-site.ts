import { jetstreamManager, StorageType } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { streamOf } from "@walcast/postgres";
import { createDatabase, startNats, startPostgres, startRedis, type ServerProcess } from "@walcast/testkit";
import pg from "pg";
import { onTestFinished } from "vitest";
import { collect, examine } from "./examine.ts";
import type { Finding } from "./finding.ts";
import type { DoctorSettings } from "./settings.ts";

// For tests: an installation that nothing is wrong with, in which they plant faults.

export interface Servers {
  readonly postgres: ServerProcess;
  readonly nats: ServerProcess;
  readonly redis: ServerProcess;
}

/** Servers of their own, because faults are planted in servers and roles, too. */
export async function startServers(): Promise<Servers & { stop(): Promise<unknown> }> {
  const [postgres, nats, redis] = await Promise.all([
    startPostgres({ postgresFlags: ["-c", "max_slot_wal_keep_size=4GB"] }),
    startNats(),
    startRedis(),
  ]);
  await run(postgres.url, healthyRoles);
  return { postgres, nats, redis, stop: () => Promise.all([postgres, nats, redis].map((server) => server.stop())) };
}

export const healthyRoles = `
  CREATE ROLE anon NOLOGIN; CREATE ROLE authenticated NOLOGIN; CREATE ROLE service_role NOLOGIN BYPASSRLS;
  CREATE ROLE walcast LOGIN REPLICATION PASSWORD 'walcast'; GRANT anon, authenticated, service_role TO walcast`;

const healthySchema = `
  CREATE TABLE orders (id int PRIMARY KEY, status text);
  ALTER TABLE orders REPLICA IDENTITY FULL;
  GRANT SELECT ON orders TO authenticated;
  CREATE PUBLICATION supabase_realtime FOR TABLE orders`;

/** As superuser, on a connection of its own. */
export async function run(url: string, ...statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

export interface Site {
  readonly settings: DoctorSettings;
  /** As superuser. */
  readonly sql: (...statements: readonly string[]) => Promise<void>;
  readonly databaseName: string;
  /** As superuser. */
  readonly databaseUrl: string;
}

/** A database of its own that nothing is wrong with, seen as the role `walcast`, until the test ends. */
export async function healthySite({ postgres, nats, redis }: Servers): Promise<Site> {
  const database = await createDatabase(postgres.url);
  onTestFinished(() => database.drop());
  await run(database.url, healthySchema);
  const own = new URL(database.url);
  [own.username, own.password] = ["walcast", "walcast"];
  return {
    settings: {
      service: "all",
      database: { connectionString: own.href, connectionTimeoutMillis: 5_000 },
      slot: database.name,
      publications: ["supabase_realtime"],
      nats: {
        url: nats.url,
        source: database.name,
        retentionMs: 3_600_000,
        retentionBytes: 64 * 2 ** 20,
        replicas: 1,
        syncIntervalMs: 120_000,
        monitorUrl: undefined,
      },
      redis: { url: redis.url, ca: undefined },
      tokens: { areVerified: true, secretBytes: 48, hasInlineKeys: false, keysUrl: undefined },
    },
    sql: (...statements) => run(database.url, ...statements),
    databaseName: database.name,
    databaseUrl: database.url,
  };
}

export const findingsOf = async (settings: DoctorSettings, now?: () => number): Promise<readonly Finding[]> =>
  examine(await collect(settings, now), settings);
export const codes = (findings: readonly Finding[]): string[] =>
  findings.map(({ severity, code }) => `${severity} ${code}`);

/** Makes the slot and reads from it as an ingester does, so that it is active. */
export async function readSlot({ slot, database }: DoctorSettings, sql: Site["sql"]): Promise<pg.Client> {
  await sql(`SELECT pg_create_logical_replication_slot('${slot}', 'pgoutput')`);
  const client = new pg.Client({ ...database, replication: "database" } as pg.ClientConfig);
  client.on("error", () => undefined);
  await client.connect();
  const started = new Promise<void>((resolve) => {
    const { connection } = client as unknown as { connection: NodeJS.EventEmitter };
    connection.once("replicationStart", () => resolve());
  });
  client
    .query(`START_REPLICATION SLOT "${slot}" LOGICAL 0/0 (proto_version '1', publication_names 'supabase_realtime')`)
    .catch(() => undefined); // ends with the connection
  await started;
  return client;
}

/** A walsender that streams is not asked: its connection is cut. The slot is free when the server has noticed. */
export async function stopReading(client: pg.Client): Promise<void> {
  const ended = new Promise<void>((resolve) => client.once("end", () => resolve()));
  streamOf(client)?.destroy();
  await ended;
}

/** A stream that is the change log of these settings, but for what is changed. */
export async function makeStream(
  url: string,
  settings: DoctorSettings,
  changed: Readonly<Record<string, unknown>>,
): Promise<void> {
  const connection = await connect({ servers: url });
  const source = settings.nats?.source ?? "";
  const manager = await jetstreamManager(connection);
  await manager.streams.add({
    name: `WALCAST_${source}`,
    subjects: [`walcast.${source}.changes.>`],
    storage: StorageType.File,
    max_age: 3_600_000 * 1e6,
    max_bytes: 64 * 2 ** 20,
    ...changed,
  });
  await connection.close();
}
