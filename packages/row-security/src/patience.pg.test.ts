import { migrate } from "@walcast/realtime-schema";
import { waitUntil } from "@walcast/testkit";
import { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import {
  AccessCatalog,
  channelRefusal,
  ChannelPolicies,
  httpRefusal,
  MessageHistory,
  QuestionPool,
  Visibility,
  type Patience,
  type RowSecurityError,
} from "./index.ts";
import { createPolicyDatabase, type PolicyDatabase } from "./test-database.ts";

// What passes by itself, provoked for real: other sessions hold what the questions need.

let database: PolicyDatabase;
let other: Client;
let catalog: AccessCatalog;
let pool: QuestionPool;
let visibility: Visibility;
let failed: number;

beforeAll(async () => {
  database = await createPolicyDatabase(inject("postgresUrl"));
  await migrate(database.admin, { gatewayRole: database.gateName });
  await database.sql(`
    CREATE TABLE notes (id int PRIMARY KEY);
    ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
    CREATE POLICY even ON notes USING (id % 2 = 0);
    GRANT SELECT ON notes TO %user%;
    INSERT INTO notes VALUES (1), (2);
    GRANT USAGE ON SCHEMA realtime TO %user%;
    GRANT SELECT, INSERT ON realtime.messages TO %user%;
    CREATE POLICY listen ON realtime.messages FOR SELECT TO %user% USING (extension = 'broadcast')`);
  const { rows } = await database.admin.query<{ name: string }>("SELECT current_database() AS name");
  const url = new URL(inject("postgresUrl"));
  url.pathname = `/${rows[0]?.name}`;
  other = new Client({ connectionString: url.href });
  await other.connect();
});
beforeEach(() => {
  failed = 0;
  catalog = new AccessCatalog({ database: database.gate, pollMs: 100, staleMs: 60_000 });
});
afterEach(async () => {
  await catalog.close();
  await pool.close();
  await database.sql("ALTER ROLE %gate% RESET ALL");
});
afterAll(async () => {
  await other.end();
  await database.drop();
});

function open({ timeoutMs = 5_000, patience }: { timeoutMs?: number; patience?: Patience } = {}): void {
  pool = new QuestionPool({ database: database.gate, size: 3, queueLimit: 100, timeoutMs });
  visibility = new Visibility({
    catalog,
    pool,
    ...(patience === undefined ? {} : { patience }),
    onQuestion: (question) => (failed += question.failed ? 1 : 0),
  });
}
async function visible(): Promise<readonly boolean[]> {
  const relation = await database.relation("public", "notes");
  const principal = database.principal("user", { sub: "ann" });
  return await visibility.visible({ relation, principal, keys: ['{"id":1}', '{"id":2}'] });
}
const lock = (table: string): Promise<unknown> => other.query(`BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
const known = async (): Promise<void> => {
  await catalog.access(await database.relation("public", "notes"), database.role("user"));
};

describe("a question about rows", () => {
  it("is asked again while a lock is not to be had in time (lock_timeout)", async () => {
    await database.sql("ALTER ROLE %gate% SET lock_timeout = '20ms'");
    open();
    await known();
    await lock("notes");
    const asked = visible();
    await waitUntil(() => failed >= 2, { what: "two tries" });
    await other.query("COMMIT");
    expect(await asked).toEqual([false, true]);
  });

  it("is asked again when it was cancelled waiting for somebody's lock (statement_timeout)", async () => {
    open({ timeoutMs: 150, patience: { busyMs: 0, timeouts: 1_000 } });
    await known();
    await lock("notes");
    const asked = visible();
    await waitUntil(() => failed >= 1, { what: "a try" });
    await other.query("COMMIT");
    expect(await asked).toEqual([false, true]);
  });

  it("is asked again when it was the victim of a deadlock", async () => {
    await database.sql(`
      CREATE FUNCTION public.entangled() RETURNS bool LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock(1); PERFORM pg_advisory_xact_lock(2); RETURN true; END $$;
      CREATE POLICY entangled ON notes AS RESTRICTIVE USING (public.entangled());
      ALTER ROLE %gate% SET deadlock_timeout = '500ms'`);
    await other.query("SET deadlock_timeout = '60s'; BEGIN; SELECT pg_advisory_xact_lock(2)");
    open();
    await known();
    const asked = visible();
    const waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    await waitUntil(async () => (await database.admin.query(waiting)).rowCount === 1, { what: "the question to wait" });
    await other.query("SELECT pg_advisory_xact_lock(1)"); // both wait for each other, and ours gives up first
    await other.query("COMMIT");
    expect(await asked).toEqual([false, true]);
    expect(failed).toBe(1);
    await database.sql("DROP POLICY entangled ON notes");
  });

  it("is given up as busy, or as too slow, when patience is over", async () => {
    await database.sql("ALTER ROLE %gate% SET lock_timeout = '20ms'");
    open({ patience: { busyMs: 100, timeouts: 0 } });
    await known();
    await lock("notes");
    await expect(visible()).rejects.toMatchObject({ code: "DATABASE_BUSY", cause: { code: "55P03" } });
    expect(failed).toBeGreaterThan(1);
    await database.sql("ALTER ROLE %gate% RESET lock_timeout");
    await pool.close();
    failed = 0;
    open({ timeoutMs: 50, patience: { busyMs: 0, timeouts: 2 } });
    await expect(visible()).rejects.toMatchObject({ code: "POLICY_TIMEOUT" });
    expect(failed).toBe(3);
    await other.query("COMMIT");
  });

  it("is not asked again for an error of the policy's own", async () => {
    open();
    await database.sql("CREATE POLICY broken ON notes AS RESTRICTIVE USING (1 / (id - 1) > -2)");
    await expect(visible()).rejects.toMatchObject({ code: "POLICY_FAILED" });
    expect(failed).toBe(1);
    await database.sql("DROP POLICY broken ON notes");
  });
});

describe("a question about a channel", () => {
  const question = (): { subtopic: string; claims: ReturnType<PolicyDatabase["claims"]> } => ({
    subtopic: "room",
    claims: database.claims("user"),
  });

  it("denies nobody for a lock: it is asked again, and so is what is stored", async () => {
    await database.sql("ALTER ROLE %gate% SET lock_timeout = '20ms'");
    open();
    const denied: string[] = [];
    const policies = new ChannelPolicies({ pool, cacheMs: 0, onDenied: ({ code }) => denied.push(code) });
    const history = new MessageHistory(pool);
    await lock("realtime.messages");
    const asked = policies.grants(question());
    const more = { sinceMs: 0, limit: 25, payloadLimitBytes: 1_000, xids: new Set<number>() };
    const read = history.read({ ...question(), ...more }, { signal: new AbortController().signal });
    let runs = 0;
    await waitUntil(() => (pool.load.running === 0 ? ++runs : runs) >= 2, {
      what: "tries to have failed",
      intervalMs: 1,
    });
    await other.query("COMMIT");
    expect(await asked).toMatchObject({ broadcast: { read: true, write: false } });
    expect((await read).messages).toEqual([]);
    expect(denied).toEqual([]);
  });

  it("is refused as what it is when patience is over", async () => {
    await database.sql("ALTER ROLE %gate% SET lock_timeout = '20ms'");
    open();
    const policies = new ChannelPolicies({ pool, cacheMs: 0, patience: { busyMs: 50, timeouts: 0 } });
    await lock("realtime.messages");
    const error: unknown = await policies.grants(question()).catch((cause: unknown) => cause);
    await other.query("COMMIT");
    expect(error).toMatchObject({ code: "DATABASE_BUSY" });
    expect(channelRefusal(error as RowSecurityError)).toBe("Realtime was unable to connect to the project database");
    expect(httpRefusal(error as RowSecurityError)).toEqual({ status: 422, message: "Tenant database unavailable" });
  });
});
