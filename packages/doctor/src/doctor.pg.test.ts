import { migrate } from "@walcast/realtime-schema";
import { freePort, startPostgres, waitUntil } from "@walcast/testkit";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from "vitest";
import { applyFixes } from "./apply-fixes.ts";
import { collect, examine } from "./examine.ts";
import type { DoctorSettings } from "./settings.ts";
import {
  codes,
  findingsOf,
  healthyRoles,
  healthySite,
  makeStream,
  readSlot,
  run,
  startServers,
  stopReading,
  type Site,
} from "./test-site.ts";

// Faults planted in a real PostgreSQL, one at a time. Each must be found, with what fixes it, and nothing else must be.

let servers: Awaited<ReturnType<typeof startServers>>;
beforeAll(async () => (servers = await startServers()), 120_000);
afterAll(() => servers.stop());

it("finds nothing where nothing is wrong, also with a slot and a stream", async () => {
  const { settings, sql } = await healthySite(servers);
  expect(await findingsOf(settings)).toEqual([]);
  const reader = await readSlot(settings, sql);
  await makeStream(settings.nats?.url ?? "", settings, {});
  expect(await findingsOf(settings)).toEqual([]);
  await stopReading(reader);
});

describe("faults in the database", () => {
  const planted: readonly (readonly [code: string, fault: (site: Site) => string | Promise<unknown>, fix: RegExp])[] = [
    [
      "error PUBLICATION_MISSING",
      () => "DROP PUBLICATION supabase_realtime",
      /CREATE PUBLICATION "supabase_realtime" FOR TABLE/u,
    ],
    ["warning PUBLICATION_EMPTY", () => "ALTER PUBLICATION supabase_realtime DROP TABLE orders", /ADD TABLE/u],
    [
      "warning PUBLICATION_PARTIAL",
      () => "ALTER PUBLICATION supabase_realtime SET (publish = 'insert')",
      /publish = 'insert, update, delete, truncate'/u,
    ],
    [
      "warning PARTITIONS_APART",
      () =>
        "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (9); ALTER TABLE parted_1 REPLICA IDENTITY FULL; GRANT SELECT ON parted_1 TO anon; ALTER PUBLICATION supabase_realtime ADD TABLE parted",
      /publish_via_partition_root = true/u,
    ],
    [
      "error IDENTITY_MISSING",
      () =>
        "CREATE TABLE keyless (a int); GRANT SELECT ON keyless TO anon; ALTER PUBLICATION supabase_realtime ADD TABLE keyless",
      /ALTER TABLE keyless REPLICA IDENTITY FULL/u,
    ],
    [
      "error IDENTITY_MISSING",
      () => "ALTER TABLE orders REPLICA IDENTITY NOTHING",
      /ALTER TABLE orders REPLICA IDENTITY FULL/u,
    ],
    [
      "error IDENTITY_MISSING",
      () =>
        "CREATE TABLE parted (a int) PARTITION BY RANGE (a); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (9); ALTER TABLE parted REPLICA IDENTITY FULL; GRANT SELECT ON parted TO anon; ALTER PUBLICATION supabase_realtime ADD TABLE parted; ALTER PUBLICATION supabase_realtime SET (publish_via_partition_root = true)",
      /ALTER TABLE parted_1 REPLICA IDENTITY FULL/u,
    ],
    ["note IDENTITY_KEY", () => "ALTER TABLE orders REPLICA IDENTITY DEFAULT", /REPLICA IDENTITY FULL/u],
    [
      "warning TABLE_UNREADABLE",
      () => "REVOKE ALL ON orders FROM authenticated",
      /GRANT SELECT ON orders TO authenticated/u,
    ],
    [
      "warning ROW_SECURITY_NO_POLICY",
      () => "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
      /CREATE POLICY … ON orders FOR SELECT/u,
    ],
    [
      "error ROW_SECURITY_NO_KEY",
      () =>
        "ALTER TABLE orders DROP CONSTRAINT orders_pkey; ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON orders USING (true)",
      /ALTER TABLE orders ADD PRIMARY KEY/u,
    ],
    [
      "warning SLOT_INACTIVE",
      ({ settings }) => `SELECT pg_create_logical_replication_slot('${settings.slot}', 'pgoutput')`,
      /pg_drop_replication_slot/u,
    ],
    [
      "error SLOT_MISMATCH",
      ({ settings }) => `SELECT pg_create_logical_replication_slot('${settings.slot}', 'test_decoding')`,
      /SLOT_NAME: another name/u,
    ],
    [
      "error SLOT_MISMATCH",
      ({ settings }) => `SELECT pg_create_physical_replication_slot('${settings.slot}')`,
      /SLOT_NAME: another name/u,
    ],
    [
      "warning ASYNC_COMMIT",
      ({ databaseName }) => `ALTER DATABASE "${databaseName}" SET synchronous_commit = off`,
      /synchronous_commit = 'on'/u,
    ],
    [
      "warning SENDER_TIMEOUT",
      ({ databaseName }) => `ALTER DATABASE "${databaseName}" SET wal_sender_timeout = 0`,
      /wal_sender_timeout = '60s'/u,
    ],
  ];

  it.each(planted)("%s", async (code, fault, fix) => {
    const site = await healthySite(servers);
    const statement = await fault(site);
    if (typeof statement === "string") await site.sql(statement);
    const found = await findingsOf(site.settings);
    // A physical slot belongs to no database, so that dropping ours would leave it.
    onTestFinished(() =>
      site.sql(
        `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '${site.settings.slot}'`,
      ),
    );
    expect(codes(found)).toEqual([code]);
    expect(found[0]?.fix.text).toMatch(fix);
  });

  it("CLOCK_SKEW, LONG_TRANSACTION: time, as this machine has it", async () => {
    const { settings } = await healthySite(servers);
    const early = await findingsOf(settings, () => Date.now() - 600_000);
    expect(codes(early)).toEqual(["warning CLOCK_SKEW"]);
    expect(early[0]?.reason).toMatch(/600 s ahead of/u);
    const facts = await collect(settings);
    const late = { ...facts, postgres: { ...facts.postgres, oldestTransactionMs: 3_600_000 } };
    expect(codes(examine(late, settings))).toEqual(["warning LONG_TRANSACTION"]);
  });

  it("REPLICATION_PRIVILEGE, ROLE_NOT_GRANTED: a role that may do nothing", async () => {
    const { settings, sql } = await healthySite(servers);
    await sql("CREATE ROLE powerless LOGIN PASSWORD 'walcast'");
    onTestFinished(() => run(servers.postgres.url, "DROP ROLE powerless"));
    const url = new URL(settings.database.connectionString ?? "");
    url.username = "powerless";
    const found = await findingsOf({ ...settings, database: { connectionString: url.href } });
    expect(codes(found)).toEqual(["error REPLICATION_PRIVILEGE", "error ROLE_NOT_GRANTED"]);
    expect(found.map(({ fix }) => fix.text)).toEqual([
      expect.stringContaining('ALTER ROLE "powerless" REPLICATION'),
      expect.stringMatching(/^GRANT "anon", "authenticated", "service_role" TO "powerless"/u),
    ]);
  });

  it("ROLE_NOT_GRANTED: a member that may not become the role", async () => {
    if (inject("postgresVersion") < 16) return; // a member may become the role
    const { settings, sql } = await healthySite(servers);
    await sql("REVOKE authenticated FROM walcast", "GRANT authenticated TO walcast WITH SET FALSE");
    onTestFinished(() => run(servers.postgres.url, "GRANT authenticated TO walcast WITH SET TRUE"));
    const found = await findingsOf(settings);
    expect(codes(found)).toEqual(["error ROLE_NOT_GRANTED"]);
    await sql(found[0]?.fix.text ?? "");
    expect(await findingsOf(settings)).toEqual([]);
  });

  it("a role for each service, as recommended: all is well for either", async () => {
    const { settings, sql } = await healthySite(servers);
    const noKeys = { ...settings.tokens, secretBytes: undefined };
    await sql(
      "CREATE ROLE walcast_ingester LOGIN REPLICATION PASSWORD 'walcast'",
      "CREATE ROLE walcast_gateway LOGIN NOINHERIT PASSWORD 'walcast'; GRANT anon, authenticated, service_role TO walcast_gateway",
    );
    onTestFinished(() => run(servers.postgres.url, "DROP ROLE walcast_ingester; DROP ROLE walcast_gateway"));
    const as = (service: "ingester" | "gateway"): DoctorSettings => {
      const url = new URL(settings.database.connectionString ?? "");
      url.username = `walcast_${service}`;
      return { ...settings, service, database: { connectionString: url.href } };
    };
    expect(await findingsOf({ ...as("ingester"), tokens: noKeys })).toEqual([]);
    expect(await findingsOf(as("gateway"))).toEqual([]);
    const asked = await collect({ ...as("ingester"), redis: { url: "redis://127.0.0.1:9", ca: undefined } });
    expect(asked.redis).toBeUndefined();

    // What it needs itself is still looked at.
    expect(codes(await findingsOf({ ...as("gateway"), service: "ingester" }))).toEqual(["error REPLICATION_PRIVILEGE"]);
    expect(codes(await findingsOf({ ...as("ingester"), service: "gateway" }))).toEqual(["error ROLE_NOT_GRANTED"]);
    expect(codes(await findingsOf({ ...as("gateway"), tokens: noKeys }))).toEqual(["error TOKEN_KEYS_MISSING"]);
    const unlike = { ...settings, nats: settings.nats && { ...settings.nats, replicas: 3 } };
    expect(codes(await findingsOf({ ...unlike, service: "ingester" }))).toEqual(["error NATS_REPLICAS"]);
    expect(await findingsOf({ ...unlike, service: "gateway" })).toEqual([]);

    // Who does not say for which is told of the option.
    const either = await Promise.all(
      [as("ingester"), as("gateway")].map((one) => findingsOf({ ...one, service: "all" })),
    );
    expect(either.map((found) => found.map(({ code, fix }) => [code, /--for \w+$/u.exec(fix.text)?.[0]]))).toEqual([
      [["ROLE_NOT_GRANTED", "--for ingester"]],
      [["REPLICATION_PRIVILEGE", "--for gateway"]],
    ]);
  });

  it("MESSAGES_PARTITION: none for today, none for tomorrow, and --fix makes them", async () => {
    const { settings, sql, databaseUrl } = await healthySite(servers);
    const owner = new pg.Client({ connectionString: databaseUrl });
    await owner.connect();
    try {
      await migrate(owner, { gatewayRole: "walcast" });
    } finally {
      await owner.end();
    }
    expect(await findingsOf(settings)).toEqual([]);
    const dayName = (days: number): string => {
      const date = new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);
      return `realtime.messages_${date.replaceAll("-", "_")}`;
    };
    const later = [1, 2, 3].map((days) => `DROP TABLE ${dayName(days)}`);
    await sql(...later);
    const tomorrow = await findingsOf(settings);
    expect(codes(tomorrow)).toEqual(["warning MESSAGES_PARTITION"]);
    expect(await applyFixes(settings.database, tomorrow)).toEqual([
      { statement: "SELECT realtime.walcast_ensure_partitions()", problem: undefined },
    ]);
    expect(await findingsOf(settings)).toEqual([]);

    await sql(`DROP TABLE ${dayName(0)}`, ...later);
    const today = await findingsOf(settings);
    expect(codes(today)).toEqual(["error MESSAGES_PARTITION"]);
    expect(await findingsOf({ ...settings, service: "ingester" })).toEqual([]);
    // Somebody's own partitions will do, as long as they are there; of a table of somebody's own nothing is known.
    await sql("CREATE TABLE realtime.rest PARTITION OF realtime.messages DEFAULT");
    expect(await findingsOf(settings)).toEqual([]);
    await sql("DROP TABLE realtime.rest");
    const wide = "CREATE TABLE realtime.wide PARTITION OF realtime.messages FOR VALUES";
    await sql(`${wide} FROM ('${new Date().toISOString().slice(0, 10)}') TO (MAXVALUE)`);
    expect(await findingsOf(settings)).toEqual([]);
    await sql("DROP TABLE realtime.wide", "DROP FUNCTION realtime.walcast_ensure_partitions()");
    expect(await findingsOf(settings)).toEqual([]);
  });

  it("DATABASE_UNAVAILABLE: nobody answers, or the password is wrong", async () => {
    const { settings } = await healthySite(servers);
    const nobody = { connectionString: `postgres://walcast:x@127.0.0.1:${await freePort()}/postgres` };
    expect(codes(await findingsOf({ ...settings, database: nobody }))).toEqual(["error DATABASE_UNAVAILABLE"]);
    const url = new URL(settings.database.connectionString ?? "");
    url.password = "wrong";
    const [refused] = await findingsOf({ ...settings, database: { connectionString: url.href } });
    expect(refused).toMatchObject({
      code: "DATABASE_UNAVAILABLE",
      reason: expect.stringContaining("password authentication failed"),
    });
  });
});

describe("a server that cannot stream", () => {
  it("WAL_LEVEL, WAL_UNLIMITED, ROLES_MISSING", async () => {
    const server = await startPostgres({ postgresFlags: ["-c", "wal_level=replica"] });
    onTestFinished(() => server.stop());
    await run(server.url, "CREATE ROLE walcast LOGIN REPLICATION PASSWORD 'walcast'; CREATE ROLE authenticated");
    const { settings, sql } = await healthySite({ ...servers, postgres: server });
    await sql("REVOKE ALL ON orders FROM authenticated", "DROP ROLE authenticated");
    expect(codes(await findingsOf(settings))).toEqual([
      "error WAL_LEVEL",
      "warning WAL_UNLIMITED",
      "warning ROLES_MISSING",
    ]);
  });

  it("NO_FREE_SLOT, SLOT_ENDANGERED or SLOT_LOST, NO_FREE_SENDER", async () => {
    const limits = {
      max_replication_slots: "1",
      max_wal_senders: "1",
      max_slot_wal_keep_size: "1MB",
    };
    const flags = Object.entries(limits).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
    const server = await startPostgres({ postgresFlags: flags });
    onTestFinished(() => server.stop());
    await run(server.url, healthyRoles);
    const { settings, sql } = await healthySite({ ...servers, postgres: server });
    const others = await readSlot({ ...settings, slot: "others" }, sql);
    expect(codes(await findingsOf(settings))).toEqual(["error NO_FREE_SLOT", "error NO_FREE_SENDER"]);
    await stopReading(others);
    const theirs = { ...settings, slot: "others" };
    await waitUntil(async () => codes(await findingsOf(theirs)).includes("warning SLOT_INACTIVE"), {
      what: "a slot that is free",
    });

    // More WAL than may be kept for a slot that nobody reads.
    await sql("CREATE TABLE heap (a text)");
    for (let round = 0; round < 4; round++)
      await sql("INSERT INTO heap SELECT repeat('x', 500) FROM generate_series(1, 20000); SELECT pg_switch_wal()");
    expect(codes(await findingsOf(theirs))).toContain("error SLOT_ENDANGERED");
    expect(codes(await findingsOf(theirs))).toContain("warning SLOT_LAG");
    await sql("CHECKPOINT");
    expect(codes(await findingsOf(theirs))).toEqual(["error SLOT_LOST"]);
  });
});

describe("faults in how tokens are verified", () => {
  const planted: readonly (readonly [string, Partial<DoctorSettings["tokens"]>])[] = [
    ["warning TOKENS_OPEN", { areVerified: false }],
    ["error TOKEN_KEYS_MISSING", { secretBytes: undefined }],
    ["warning TOKEN_SECRET_SHORT", { secretBytes: 12 }],
    ["error TOKEN_KEYS_UNAVAILABLE", { keysUrl: new URL("http://127.0.0.1:9/keys") }],
  ];
  it.each(planted)("%s", async (code, changed) => {
    const { settings } = await healthySite(servers);
    expect(codes(await findingsOf({ ...settings, tokens: { ...settings.tokens, ...changed } }))).toEqual([code]);
  });
});
