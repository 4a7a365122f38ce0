import { freePort, startPostgres, waitUntil } from "@walcast/testkit";
import { Client } from "pg";
import { afterEach, expect, inject, it } from "vitest";
import {
  startCluster,
  untilHealthy,
  untilProblem,
  type Cluster,
  type Problem,
  type RunningService,
} from "./cluster.ts";
import { connectClient, isSubscribed } from "./realtime-clients.ts";

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

/** An ingester alone, with something wrong, and what it says of it. */
async function troubled(
  code: string,
  options: { schema?: string; env?: Record<string, string>; postgresUrl?: string },
): Promise<{ ingester: RunningService; problem: Problem; cluster: Cluster }> {
  const started = await startCluster({
    postgresUrl: options.postgresUrl ?? inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    ingesters: 0,
    gateways: 0,
    ...(options.schema === undefined ? {} : { schema: options.schema }),
  });
  cluster = started;
  const ingester = await started.addIngester(options.env);
  const problem = await untilProblem(ingester, code);
  await ingester.process.waitForLine(code);
  return { ingester, problem, cluster: started };
}

/** Failures in a row wait longer and longer: a spin would write hundreds of lines in this time. */
async function expectNoSpin(service: RunningService): Promise<void> {
  const before = service.process.lines.length;
  await waitUntil(() => service.process.lines.length >= before + 3, { what: "three more tries" });
  const stamps = service.process.lines.slice(-3).map((line) => Date.parse((JSON.parse(line) as { time: string }).time));
  expect((stamps[2] ?? 0) - (stamps[0] ?? 0)).toBeGreaterThan(100);
}

it("PostgreSQL that cannot be reached at start", async () => {
  const port = await freePort();
  const { ingester, problem } = await troubled("DATABASE_UNAVAILABLE", {
    env: { DATABASE_URL: `postgres://x:y@127.0.0.1:${port}/z` },
  });
  expect(problem).toMatchObject({
    message: expect.stringContaining("check that it runs") as string,
    cause: expect.stringContaining("ECONNREFUSED") as string,
  });
  await expectNoSpin(ingester);
});

it("a wrong password", async () => {
  const { problem } = await troubled("DATABASE_UNAVAILABLE", {
    env: { DATABASE_URL: inject("postgresUrl").replace(/:[^:@/]*@/, ":wrong@") },
  });
  expect(problem.cause).toContain("password authentication failed");
});

it("NATS that cannot be reached at start, at the ingester and the gateway", async () => {
  const env = { NATS_URL: `nats://127.0.0.1:${await freePort()}` };
  const { problem, ingester, cluster: started } = await troubled("CHANGE_LOG_UNAVAILABLE", { env });
  expect(problem.message).toContain("NATS_URL");
  const gateway = await started.addGateway(env);
  expect((await untilProblem(gateway, "CHANGE_LOG_UNAVAILABLE")).message).toContain("NATS_URL");
  await expectNoSpin(ingester);
});

it("wal_level = replica", async () => {
  const postgres = await startPostgres({ postgresFlags: ["-c", "wal_level=replica"] });
  const { problem } = await troubled("WAL_LEVEL", { postgresUrl: postgres.url });
  expect(problem.message).toBe(
    "wal_level is replica; run ALTER SYSTEM SET wal_level = 'logical' and restart PostgreSQL",
  );
  await cluster?.stop();
  cluster = undefined;
  await postgres.stop();
});

it("a missing publication; made later, ingesting begins by itself", async () => {
  const { ingester, problem, cluster: started } = await troubled("PUBLICATION_MISSING", { schema: "SELECT 1" });
  expect(problem.message).toContain('publication "supabase_realtime" does not exist; run CREATE PUBLICATION');
  const metrics = async (): Promise<string> => (await fetch(`http://127.0.0.1:${ingester.port}/metrics`)).text();
  expect(await metrics()).toMatch(/^walcast_ingester_interruptions_total [1-9]/mu);
  expect(await metrics()).toContain("walcast_ingester_is_leader 0"); // it has the lock, and nothing comes of it
  await started.sql.query("CREATE PUBLICATION supabase_realtime FOR ALL TABLES");
  await untilHealthy(ingester);
  expect(await metrics()).toContain("walcast_ingester_is_leader 1");
});

it("a missing publication is created when that is asked for", async () => {
  cluster = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    schema: "SELECT 1",
    env: { CREATE_PUBLICATION: "true" },
  });
  const { rows } = await cluster.sql.query("SELECT pubname, puballtables FROM pg_publication");
  expect(rows).toEqual([{ pubname: "supabase_realtime", puballtables: true }]);
});

it("a slot that someone else reads; freed, ingesting begins by itself", async () => {
  const started = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    ingesters: 0,
    gateways: 0,
  });
  cluster = started;
  await started.sql.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [started.database.name]);
  const other = new Client({ connectionString: started.database.url, replication: "database" } as ConstructorParameters<
    typeof Client
  >[0]);
  other.on("error", () => undefined); // cut at the end
  await other.connect();
  void other
    .query(
      `START_REPLICATION SLOT "${started.database.name}" LOGICAL 0/0 (proto_version '1', publication_names 'supabase_realtime')`,
    )
    .catch(() => undefined);
  await waitUntil(
    async () =>
      (
        await started.sql.query("SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active", [
          started.database.name,
        ])
      ).rowCount === 1,
    { what: "the slot to be taken" },
  );
  const ingester = await started.addIngester();
  const problem = await untilProblem(ingester, "SLOT_BUSY");
  expect(problem.message).toContain("is in use by another process; find it in pg_stat_replication");
  await started.sql.query("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1", [
    started.database.name,
  ]);
  await untilHealthy(ingester);
});

it("a slot of another plugin", async () => {
  const started = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    ingesters: 0,
    gateways: 0,
  });
  cluster = started;
  await started.sql.query("SELECT pg_create_logical_replication_slot($1, 'test_decoding')", [started.database.name]);
  expect((await untilProblem(await started.addIngester(), "SLOT_MISMATCH")).message).toContain(
    "uses plugin test_decoding, not pgoutput",
  );
});

it("a role without REPLICATION; granted, ingesting begins by itself", async () => {
  const started = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    ingesters: 0,
    gateways: 0,
  });
  cluster = started;
  const role = `role_${started.database.name}`;
  await started.sql.query(`CREATE ROLE ${role} LOGIN PASSWORD 'secret'`);
  const url = new URL(started.database.url);
  [url.username, url.password] = [role, "secret"];
  const ingester = await started.addIngester({ DATABASE_URL: url.href });
  expect((await untilProblem(ingester, "REPLICATION_PRIVILEGE")).message).toContain("ALTER ROLE … REPLICATION");
  await started.sql.query(`ALTER ROLE ${role} REPLICATION`);
  await untilHealthy(ingester);
  await ingester.process.stop();
  await started.sql.query(`DROP ROLE ${role}`);
});

it("a slot that was dropped: positions begin a new epoch, subscribers are told of the gap, and changes flow again", async () => {
  const started = await startCluster({ postgresUrl: inject("postgresUrl"), natsUrl: inject("natsUrl") });
  cluster = started;
  await started.sql.query("CREATE TABLE t (id int)");
  const client = connectClient("2.119.0", started.url);
  const subscription = client.subscribe({ table: "t" });
  await waitUntil(() => isSubscribed(subscription), { what: "the subscription" });
  await started.sql.query("INSERT INTO t VALUES (1)");
  await waitUntil(() => subscription.changes.length === 1, { what: "the first change" });
  await started.ingesters[0]?.process.stop();
  await started.sql.query("SELECT pg_drop_replication_slot($1)", [started.database.name]);
  await started.sql.query("INSERT INTO t VALUES (2)");
  const ingester = await started.addIngester();
  await untilHealthy(ingester);
  await ingester.process.waitForLine("the slot was gone");
  await started.sql.query("INSERT INTO t VALUES (3)");
  await waitUntil(() => subscription.changes.length === 2, { what: "the change after the gap" });
  expect(subscription.changes.map(({ record }) => record["id"])).toEqual([1, 3]);
  expect(subscription.system.at(-1)).toMatchObject({
    extension: "resume",
    status: "error",
    message: expect.stringMatching(/^ResumeGap: /) as string,
  });
  client.disconnect();
});

it("an environment with several mistakes is refused with all of them", async () => {
  const started = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    ingesters: 0,
    gateways: 0,
  });
  cluster = started;
  const ingester = await started.addIngester({ INGESTER_PROT: "1", BATCH_BYTES: "many", PUBLICATIONS: "[]" });
  expect((await ingester.process.exit).code).toBe(78);
  const said = ingester.process.lines.join("\n");
  for (const name of ["INGESTER_PROT: no such setting", "BATCH_BYTES: must be a whole number", "PUBLICATIONS: "])
    expect(said).toContain(name);
  const gateway = await started.addGateway({ SECURE_CHANNELS: "true" });
  expect((await gateway.process.exit).code).toBe(1);
  expect(gateway.process.lines.join("\n")).toContain("nothing to verify tokens with: set JWT_SECRET");
});

it("a port that is taken", async () => {
  const started = await startCluster({ postgresUrl: inject("postgresUrl"), natsUrl: inject("natsUrl") });
  cluster = started;
  const second = await started.addGateway({ PORT: String(started.gateways[0]?.port) });
  expect((await second.process.exit).code).toBe(1);
  expect(second.process.lines.join("\n")).toContain("stop what listens there, or set PORT");
  // It listens for clients already when it finds that out: it may not stay as it is.
  const third = await started.addGateway({ METRICS_PORT: String(started.gateways[0]?.port) });
  expect((await third.process.exit).code).toBe(1);
  expect(third.process.lines.join("\n")).toContain("EADDRINUSE");
});

it("PostgreSQL that is frozen, at the leader and the standby; thawed, nothing is missing", async () => {
  const postgres = await startPostgres();
  const started = await startCluster({
    postgresUrl: postgres.url,
    natsUrl: inject("natsUrl"),
    ingesters: 2,
    schema: "CREATE TABLE todos (id int PRIMARY KEY); CREATE PUBLICATION supabase_realtime FOR TABLE todos",
  });
  cluster = started;
  const subscription = connectClient("2.119.0", started.url).subscribe({ table: "todos" });
  await waitUntil(() => isSubscribed(subscription), { what: "the subscription" });
  postgres.pause();
  try {
    await Promise.all(
      started.ingesters.map((ingester) => untilProblem(ingester, "DATABASE_UNAVAILABLE", { timeoutMs: 60_000 })),
    );
  } finally {
    postgres.resume();
  }
  await Promise.all(started.ingesters.map((ingester) => untilHealthy(ingester)));
  await started.sql.query("INSERT INTO todos SELECT generate_series(1, 3)");
  await waitUntil(() => subscription.changes.length >= 3, { what: "three rows" });
  expect(subscription.changes.map(({ record }) => record["id"])).toEqual([1, 2, 3]);
  await cluster.stop();
  cluster = undefined;
  await postgres.stop();
}, 120_000);
