import { fileURLToPath } from "node:url";
import {
  createDatabase,
  freePort,
  spawnService,
  waitUntil,
  type LineProcess,
  type TestDatabase,
} from "@walcast/testkit";
import pg from "pg";
import { describe, expect, inject, it, onTestFinished } from "vitest";

const entry = fileURLToPath(new URL("main.ts", import.meta.url));

function start(args: readonly string[], env: Readonly<Record<string, string>>): LineProcess {
  const process = spawnService({ entry, args, env, name: `walcast ${args.join(" ")}` });
  onTestFinished(async () => void (await process.stop()));
  return process;
}

async function run(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<{ code: number | undefined; text: string }> {
  const process = start(args, env);
  const { code } = await process.exit;
  return { code, text: process.lines.join("\n") };
}

async function ownDatabase(): Promise<{ database: TestDatabase; sql: pg.Client; env: Record<string, string> }> {
  const database = await createDatabase(inject("postgresUrl"));
  onTestFinished(() => database.drop());
  const sql = new pg.Client({ connectionString: database.url });
  await sql.connect();
  onTestFinished(() => sql.end());
  return { database, sql, env: { DATABASE_URL: database.url, SLOT_NAME: database.name } };
}

describe("walcast doctor", () => {
  it("exits with 1 and says what to do, as text and as JSON", async () => {
    const { env } = await ownDatabase();
    const text = await run(["doctor"], { ...env, JWT_SECRET: "x".repeat(40) });
    expect(text.code).toBe(1);
    expect(text.text).toContain(
      'error    PUBLICATION_MISSING  publication supabase_realtime: it does not exist\n         SQL: CREATE PUBLICATION "supabase_realtime"',
    );
    expect(text.text).toContain("looked at PostgreSQL; not at NATS, Redis, which no setting names");
    const json = await run(["doctor", "--json"], {
      ...env,
      JWT_SECRET: "x".repeat(40),
      NATS_URL: inject("natsUrl"),
      REDIS_URL: inject("redisUrl"),
    });
    expect(json.code).toBe(1);
    expect(JSON.parse(json.text)).toMatchObject({
      healthy: false,
      looked: { postgres: true, nats: true, redis: true },
      findings: expect.arrayContaining([expect.objectContaining({ severity: "error", code: "PUBLICATION_MISSING" })]),
    });
  });

  it("exits with 0 when it is well enough, 1 with --strict, and --fix prints what it did", async () => {
    const { env, sql } = await ownDatabase();
    await sql.query("CREATE TABLE keyless (a int); CREATE PUBLICATION supabase_realtime FOR TABLE keyless");
    const settings = { ...env, SECURE_CHANNELS: "false" };
    expect(await run(["doctor"], settings)).toMatchObject({
      code: 1,
      text: expect.stringContaining("IDENTITY_MISSING"),
    });
    const fixed = await run(["doctor", "--fix"], settings);
    expect(fixed.text).toContain("fixed    ALTER TABLE keyless REPLICA IDENTITY FULL");
    expect(fixed.text).not.toContain("IDENTITY_MISSING");
    expect(fixed.code).toBe(0);
    expect(fixed.text).toContain("warning  TOKENS_OPEN");
    expect((await run(["doctor", "--strict"], settings)).code).toBe(1);
  });

  it("prints each statement on a line of its own, as psql needs ALTER SYSTEM", async () => {
    const { env } = await ownDatabase();
    const { text } = await run(["doctor"], { ...env, SECURE_CHANNELS: "false" });
    expect(text).toMatch(
      /^ {9}SQL: ALTER SYSTEM SET max_slot_wal_keep_size = '\d+GB';\n {14}SELECT pg_reload_conf\(\);$/mu,
    );
  });

  it("--for a service asks for nothing that the other one has", async () => {
    const { env, sql } = await ownDatabase();
    await sql.query("CREATE TABLE rows (a int PRIMARY KEY); CREATE PUBLICATION supabase_realtime FOR TABLE rows");
    const settings = { ...env, REDIS_URL: "redis://127.0.0.1:9" };
    const ingester = await run(["doctor", "--for", "ingester"], settings);
    expect(ingester).toMatchObject({
      code: 0,
      text: expect.stringContaining("looked at PostgreSQL for the ingester; not at NATS, which no setting names\n"),
    });
    expect(ingester.text).toContain("WAL_UNLIMITED");
    const gateway = await run(["doctor", "--for=gateway"], settings);
    expect(gateway).toMatchObject({ code: 1, text: expect.stringContaining("error    REDIS_UNAVAILABLE") });
    expect(gateway.text).toContain("error    TOKEN_KEYS_MISSING");
    expect(gateway.text).not.toContain("WAL_UNLIMITED");
    expect(await run(["doctor", "--for=nobody"], settings)).toMatchObject({
      code: 1,
      text: expect.stringContaining("Allowed choices are ingester, gateway, all"),
    });
  });

  it("exits with 78 when the settings cannot be read", async () => {
    expect(await run(["doctor"], { DB_PORT: "many" })).toEqual({
      code: 78,
      text: expect.stringContaining("DB_PORT: must be a whole number"),
    });
  });

  it("never prints a secret", async () => {
    const env = {
      DATABASE_URL: "postgres://walcast:hidden@127.0.0.1:9/x",
      NATS_URL: "nats://u:hidden@127.0.0.1:9",
      REDIS_URL: "redis://:hidden@127.0.0.1:9",
      JWT_SECRET: "hidden",
    };
    for (const args of [["doctor"], ["doctor", "--json"]]) {
      const { text } = await run(args, env);
      expect(text).toContain("DATABASE_UNAVAILABLE");
      expect(text).not.toContain("hidden");
    }
  });
});

describe("walcast migrate and drop-slot", () => {
  it("make schema realtime once", async () => {
    const { env } = await ownDatabase();
    expect(await run(["migrate", "--create-roles"], env)).toMatchObject({
      code: 0,
      text: expect.stringContaining("migrations applied: 1"),
    });
    expect(await run(["migrate", "--create-roles"], env)).toEqual({ code: 0, text: "schema realtime is up to date" });
  });

  it("drop the slot, and refuse one that is read", async () => {
    const { env, sql, database } = await ownDatabase();
    expect(await run(["drop-slot"], env)).toEqual({ code: 0, text: `there is no replication slot ${database.name}` });
    await sql.query("CREATE PUBLICATION supabase_realtime FOR ALL TABLES");
    const ingester = start(["ingester"], {
      ...env,
      NATS_URL: inject("natsUrl"),
      SOURCE_NAME: database.name,
      INGESTER_PORT: String(await freePort()),
      LOG_RETENTION_BYTES: "67108864",
    });
    const isRead = async (): Promise<boolean> =>
      (await sql.query("SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active", [database.name]))
        .rowCount === 1;
    await waitUntil(isRead, { what: "the ingester to read its slot", timeoutMs: 20_000 });
    const refused = await run(["drop-slot", "--wait", "0"], env);
    expect([refused.code, refused.text]).toEqual([1, expect.stringContaining("SLOT_IN_USE")]);

    const waiting = start(["drop-slot", "--wait", "20"], env);
    await ingester.stop();
    expect((await waiting.exit).code).toBe(0);
    expect(waiting.lines).toEqual([`replication slot ${database.name} dropped`]);
  });
});

describe("walcast as a program", () => {
  it("runs a service in its own process: signals reach it", async () => {
    const { env, database } = await ownDatabase();
    const port = await freePort();
    const gateway = start(["gateway"], {
      ...env,
      NATS_URL: inject("natsUrl"),
      SOURCE_NAME: database.name,
      SECURE_CHANNELS: "false",
      PORT: String(port),
      DRAIN_MS: "100",
    });
    await waitUntil(async () => (await fetch(`http://127.0.0.1:${port}/healthcheck`)).ok, { what: "the gateway" });
    expect(await gateway.stop()).toEqual({ code: 0, signal: undefined });
  });

  it("tells what it does not know", async () => {
    const { code, text } = await run(["gatewy"], {});
    expect([code, text]).toEqual([1, expect.stringMatching(/unknown command 'gatewy'[\s\S]*Did you mean gateway/u)]);
  });
});

describe("walcast tail", () => {
  it("prints changes as they come, from a position on, and says why it is not let in", async () => {
    const { sql, env } = await ownDatabase();
    await sql.query("CREATE TABLE rows (id int8 PRIMARY KEY); CREATE PUBLICATION supabase_realtime FOR ALL TABLES");
    const port = String(await freePort());
    const standalone = start(["standalone"], { ...env, PORT: port });
    await standalone.waitForLine("leader: replication started", { timeoutMs: 40_000 });
    const url = `--url=http://127.0.0.1:${port}`;
    await sql.query("INSERT INTO rows VALUES (1), (9007199254740993)");
    const tail = start(["tail", "rows", url, "--from=1.0/0.0", "--filter=id=gt.1"], {});
    const line = await tail.waitForLine("INSERT");
    expect(line).toMatch(/^\d+\.0\/[0-9A-F]+\.1 {2}INSERT {2}public\.rows {2}"record":\{"id":9007199254740993\}$/);
    await sql.query("DELETE FROM rows WHERE id > 1");
    await tail.waitForLine("DELETE");
    const refused = await run(["tail", "rows", url, "--from=yesterday"], {});
    expect([refused.code, refused.text]).toEqual([
      1,
      expect.stringContaining("TAIL_REFUSED: the gateway refused: Invalid"),
    ]);
  });
});
