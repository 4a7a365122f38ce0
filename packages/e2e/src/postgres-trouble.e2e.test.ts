import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { chown, mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startPostgres, startProxy, waitUntil, type ServerProcess } from "@walcast/testkit";
import { Client } from "pg";
import { afterEach, describe, expect, inject, it } from "vitest";
import { startCluster, untilHealthy, untilProblem, type Cluster } from "./cluster.ts";
import { connectClient, isSubscribed, type TestSubscription } from "./realtime-clients.ts";

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop();
});

async function start(options: { postgresUrl: string; databaseUrl?: string; schema?: string }): Promise<Cluster> {
  const cluster = await startCluster({
    postgresUrl: options.postgresUrl,
    natsUrl: inject("natsUrl"),
    ...(options.schema === undefined ? {} : { schema: options.schema }),
    ...(options.databaseUrl === undefined ? {} : { env: { DATABASE_URL: options.databaseUrl } }),
  });
  stops.push(() => cluster.stop());
  return cluster;
}

async function ownPostgres(flags: readonly string[] = []): Promise<ServerProcess> {
  const server = await startPostgres({ postgresFlags: flags });
  stops.push(() => server.stop());
  return server;
}

async function subscribe(cluster: Cluster): Promise<TestSubscription> {
  const client = connectClient("2.119.0", cluster.url);
  stops.push(() => Promise.resolve(client.disconnect()));
  const subscription = client.subscribe({ table: "t" });
  await waitUntil(() => isSubscribed(subscription), { what: "the subscription" });
  return subscription;
}

const ids = ({ changes }: TestSubscription): unknown[] => changes.map(({ record }) => record["id"]);
const arrived = (subscription: TestSubscription, count: number): Promise<unknown> =>
  waitUntil(() => subscription.changes.length >= count, {
    what: `${count} changes, there are ${JSON.stringify(ids(subscription))}`,
    timeoutMs: 30_000,
  });
const gaps = ({ system }: TestSubscription): string[] =>
  system.filter(({ extension }) => extension === "resume").map(({ message }) => message);
const toldOfGap = (subscription: TestSubscription): Promise<unknown> =>
  waitUntil(() => gaps(subscription).length > 0, { what: "word of the gap", timeoutMs: 30_000 });

const only = <T>(list: readonly T[]): T => list[0] ?? expect.fail("the list is empty");

/** What the ingester logged when it broke continuity. */
const brokenBecause = (cluster: Cluster): string[] =>
  cluster.ingesters.flatMap(({ process }) =>
    process.lines
      .filter((line) => line.includes("changes are lost"))
      .map((line) => (JSON.parse(line) as { reason: string }).reason),
  );

describe("a slot that lost WAL it needed", () => {
  it("is made anew in a new epoch, and subscribers are told at once", async () => {
    const postgres = await ownPostgres([
      "-c",
      "max_slot_wal_keep_size=1MB",
      "-c",
      "max_wal_size=32MB",
      "-c",
      "min_wal_size=32MB",
    ]);
    const cluster = await start({ postgresUrl: postgres.url });
    await cluster.sql.query("CREATE TABLE t (id int); CREATE TABLE filler (body text)");
    const subscription = await subscribe(cluster);
    await cluster.sql.query("INSERT INTO t VALUES (1)");
    await arrived(subscription, 1);
    await only(cluster.ingesters).process.stop();
    await waitUntil(
      async () => {
        await cluster.sql.query("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
        await cluster.sql.query("CHECKPOINT");
        const { rows } = await cluster.sql.query<{ wal_status: string }>(
          "SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1",
          [cluster.database.name],
        );
        return rows[0]?.wal_status === "lost";
      },
      { what: "the slot to be lost", timeoutMs: 30_000 },
    );
    await cluster.sql.query("INSERT INTO t VALUES (2)");
    await untilHealthy(await cluster.addIngester());
    await toldOfGap(subscription);
    await cluster.sql.query("INSERT INTO t VALUES (3)");
    await arrived(subscription, 2);
    expect(ids(subscription)).toEqual([1, 3]);
    expect(brokenBecause(cluster)).toEqual(["the slot lost WAL that it needed; raise max_slot_wal_keep_size"]);
  });

  it("is given up above MAX_REPLICATION_LAG_MB when that is set, and told the same way", async () => {
    const cluster = await start({ postgresUrl: inject("postgresUrl") });
    await cluster.sql.query("CREATE TABLE t (id int); CREATE TABLE filler (body text)");
    const subscription = await subscribe(cluster);
    await cluster.sql.query("INSERT INTO t VALUES (1)");
    await arrived(subscription, 1);
    await only(cluster.ingesters).process.stop();
    await cluster.sql.query("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 5000)");
    await cluster.sql.query("INSERT INTO t VALUES (2)");
    await untilHealthy(await cluster.addIngester({ MAX_REPLICATION_LAG_MB: "1" }));
    await toldOfGap(subscription);
    expect(brokenBecause(cluster)).toEqual(["the slot's lag is above MAX_REPLICATION_LAG_MB"]);
    await cluster.sql.query("INSERT INTO t VALUES (3)");
    await arrived(subscription, 2);
    expect(ids(subscription)).toEqual([1, 3]);
  });
});

describe("a publication that changes", () => {
  it("takes tables in and leaves them out, without a restart and without a gap", async () => {
    const cluster = await start({
      postgresUrl: inject("postgresUrl"),
      schema:
        "CREATE TABLE t (id int); CREATE TABLE other (id int); CREATE PUBLICATION supabase_realtime FOR TABLE other, t",
    });
    const subscription = await subscribe(cluster);
    await cluster.sql.query("INSERT INTO t VALUES (1)");
    await cluster.sql.query("ALTER PUBLICATION supabase_realtime DROP TABLE t");
    await cluster.sql.query("INSERT INTO t VALUES (2)");
    await cluster.sql.query("ALTER PUBLICATION supabase_realtime ADD TABLE t");
    await cluster.sql.query("INSERT INTO t VALUES (3)");
    await arrived(subscription, 2);
    expect(ids(subscription)).toEqual([1, 3]);
    expect(gaps(subscription)).toEqual([]);
  });

  it("that was dropped is reported; made again, changes flow again behind a gap that is told", async () => {
    const cluster = await start({ postgresUrl: inject("postgresUrl") });
    const ingester = only(cluster.ingesters);
    await cluster.sql.query("CREATE TABLE t (id int)");
    const subscription = await subscribe(cluster);
    await cluster.sql.query("INSERT INTO t VALUES (1)");
    await arrived(subscription, 1);
    await cluster.sql.query("DROP PUBLICATION supabase_realtime");
    await cluster.sql.query("INSERT INTO t VALUES (2)");
    const version = Number(
      (await cluster.sql.query<{ v: string }>("SELECT current_setting('server_version_num') AS v")).rows[0]?.v,
    );
    if (version < 180_000) {
      await untilProblem(ingester, "PUBLICATION_MISSING");
      await cluster.sql.query("CREATE PUBLICATION supabase_realtime FOR ALL TABLES");
      await toldOfGap(subscription);
      await untilHealthy(ingester);
      expect(brokenBecause(cluster)[0]).toContain("a publication was dropped and made again");
    } else {
      // From 18 on pgoutput passes over a publication that is not there (with a warning), and nothing is lost by that.
      await cluster.sql.query("CREATE PUBLICATION supabase_realtime FOR ALL TABLES");
    }
    await cluster.sql.query("INSERT INTO t VALUES (3)");
    await arrived(subscription, 2);
    expect(ids(subscription)).toEqual([1, 3]);
  });
});

it("a role whose right to replicate is revoked is reported; given back, nothing is lost", async () => {
  const postgres = await ownPostgres();
  const role = "walcast_role";
  const admin = new Client({ connectionString: postgres.url });
  await admin.connect();
  await admin.query(`CREATE ROLE ${role} LOGIN REPLICATION PASSWORD 'secret'`);
  await admin.end();
  const cluster = await startCluster({
    postgresUrl: postgres.url,
    natsUrl: inject("natsUrl"),
    ingesters: 0,
    gateways: 0,
  });
  stops.push(() => cluster.stop());
  const url = new URL(cluster.database.url);
  [url.username, url.password] = [role, "secret"];
  await cluster.sql.query("CREATE TABLE t (id int)");
  const ingester = await cluster.addIngester({ DATABASE_URL: url.href });
  await untilHealthy(ingester);
  await untilHealthy(await cluster.addGateway({ DATABASE_URL: url.href }));
  const subscription = await subscribe(cluster);
  await cluster.sql.query("INSERT INTO t VALUES (1)");
  await arrived(subscription, 1);
  await cluster.sql.query(`ALTER ROLE ${role} NOREPLICATION`);
  await cluster.sql.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender'");
  await untilProblem(ingester, "REPLICATION_PRIVILEGE");
  await cluster.sql.query("INSERT INTO t VALUES (2)");
  await cluster.sql.query(`ALTER ROLE ${role} REPLICATION`);
  await arrived(subscription, 2);
  expect(ids(subscription)).toEqual([1, 2]);
  expect(gaps(subscription)).toEqual([]);
});

describe("failover to a promoted standby", () => {
  /** A primary, a standby with a physical slot and slot synchronisation, and one address that leads to either. */
  async function pair() {
    const seed = await ownPostgres(["-c", "fsync=on"]);
    const admin = new Client({ connectionString: seed.url });
    await admin.connect();
    await admin.query("SELECT pg_create_physical_replication_slot('standby', true)");
    await admin.end();
    await seed.stop({ keepData: true });
    const copy = await mkdtemp(join(tmpdir(), "walcast-standby-"));
    stops.push(() => rm(copy, { recursive: true, force: true }));
    // With owners and modes, which PostgreSQL insists on.
    execFileSync("cp", ["-a", `${seed.dataDir}/.`, copy]);
    const signalFile = join(copy, "cluster", "standby.signal");
    writeFileSync(signalFile, "");
    const owner = await stat(join(copy, "cluster"));
    await chown(signalFile, owner.uid, owner.gid);
    await seed.restart();
    const link = await startProxy({ target: seed.url });
    stops.push(() => link.stop());
    const standby = await startPostgres({
      dataDir: copy,
      postgresFlags: [
        ["hot_standby", "on"],
        ["hot_standby_feedback", "on"],
        ["sync_replication_slots", "on"],
        ["primary_slot_name", "standby"],
        ["primary_conninfo", `host=127.0.0.1 port=${link.port} user=postgres password=postgres dbname=postgres`],
      ].flatMap(([name, value]) => ["-c", `${name}=${value}`]),
    });
    stops.push(() => standby.stop());
    const proxy = await startProxy({ target: seed.url });
    stops.push(() => proxy.stop());
    return { primary: seed, standby, proxy, link };
  }

  const through = (url: string, port: number): string => {
    const through = new URL(url);
    through.port = String(port);
    return through.href;
  };

  async function promote(standby: ServerProcess, database: string): Promise<Client> {
    const url = new URL(standby.url);
    url.pathname = `/${database}`;
    const sql = new Client({ connectionString: url.href });
    await sql.connect();
    stops.push(() => sql.end());
    await sql.query("SELECT pg_promote()");
    return sql;
  }

  const slotIsSynced = async (standby: ServerProcess, name: string): Promise<boolean> => {
    const sql = new Client({ connectionString: standby.url });
    await sql.connect();
    const { rowCount } = await sql.query(
      "SELECT FROM pg_replication_slots WHERE slot_name = $1 AND synced AND NOT temporary",
      [name],
    );
    await sql.end();
    return rowCount === 1;
  };

  it("with a synchronised slot goes on without loss or repeat", async () => {
    const { primary, standby, proxy } = await pair();
    const cluster = await startCluster({
      postgresUrl: primary.url,
      natsUrl: inject("natsUrl"),
      ingesters: 0,
      gateways: 0,
    });
    stops.push(() => cluster.stop().catch(() => undefined)); // its database is on the server that was killed
    await cluster.sql.query("ALTER SYSTEM SET synchronized_standby_slots = 'standby'");
    await cluster.sql.query("SELECT pg_reload_conf()");
    const env = { DATABASE_URL: through(cluster.database.url, proxy.port) };
    const ingester = await cluster.addIngester(env);
    await untilHealthy(ingester);
    await untilHealthy(await cluster.addGateway(env));
    await cluster.sql.query("CREATE TABLE t (id int)");
    const subscription = await subscribe(cluster);
    await cluster.sql.query("INSERT INTO t SELECT generate_series(1, 100)");
    await arrived(subscription, 100);
    await waitUntil(() => slotIsSynced(standby, cluster.database.name), {
      what: "the slot to be synchronised",
      timeoutMs: 40_000,
    });
    await primary.kill9();
    const sql = await promote(standby, cluster.database.name);
    proxy.retarget(standby.url);
    await sql.query("INSERT INTO t SELECT generate_series(101, 200)");
    await arrived(subscription, 200);
    expect(ids(subscription)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
    expect(gaps(subscription)).toEqual([]);
  }, 120_000);

  it("that lacks commits which the log holds begins a new epoch, and subscribers are told", async () => {
    const { primary, standby, proxy, link } = await pair();
    const cluster = await startCluster({
      postgresUrl: primary.url,
      natsUrl: inject("natsUrl"),
      ingesters: 0,
      gateways: 0,
    });
    stops.push(() => cluster.stop().catch(() => undefined));
    const env = { DATABASE_URL: through(cluster.database.url, proxy.port) };
    const ingester = await cluster.addIngester(env);
    await untilHealthy(ingester);
    await untilHealthy(await cluster.addGateway(env));
    await cluster.sql.query("CREATE TABLE t (id int)");
    const subscription = await subscribe(cluster);
    await cluster.sql.query("INSERT INTO t VALUES (1)");
    await arrived(subscription, 1);
    await waitUntil(() => slotIsSynced(standby, cluster.database.name), {
      what: "the slot to be synchronised",
      timeoutMs: 40_000,
    });
    link.cut(); // what commits from here on never reaches it
    await cluster.sql.query("INSERT INTO t VALUES (2)");
    await arrived(subscription, 2);
    await primary.kill9();
    const sql = await promote(standby, cluster.database.name);
    proxy.retarget(standby.url);
    await toldOfGap(subscription);
    await sql.query("INSERT INTO t VALUES (3)");
    await arrived(subscription, 3);
    expect(ids(subscription)).toEqual([1, 2, 3]);
    expect(brokenBecause(cluster)[0]).toContain("the promoted server took over at");
  }, 120_000);
});
