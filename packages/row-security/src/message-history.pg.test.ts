import { migrate } from "@walcast/realtime-schema";
import { waitUntil } from "@walcast/testkit";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { MessageHistory, QuestionPool, type HistoryQuestion, type StoredMessage } from "./index.ts";
import { createPolicyDatabase, type PolicyDatabase } from "./test-database.ts";

let database: PolicyDatabase;
let pool: QuestionPool;
let history: MessageHistory;

beforeAll(async () => {
  database = await createPolicyDatabase(inject("postgresUrl"));
  await migrate(database.admin, { gatewayRole: database.gateName });
  await database.sql(`
    GRANT USAGE ON SCHEMA realtime TO %user%, %anon%, %service%;
    GRANT SELECT ON realtime.messages TO %user%, %service%;
    CREATE POLICY listen ON realtime.messages FOR SELECT TO %user%
      USING (extension = 'broadcast' AND realtime.topic() = topic AND auth.claims() ->> 'room' = topic
             AND (payload ->> 'for' IS NULL OR payload ->> 'for' = auth.claims() ->> 'sub'))`);
});
beforeEach(() => open());
afterEach(async () => {
  await pool.close();
  await database.admin.query("TRUNCATE realtime.messages");
});
afterAll(() => database.drop());

function open(timeoutMs = 5_000): void {
  pool = new QuestionPool({ database: database.gate, size: 3, queueLimit: 100, timeoutMs });
  history = new MessageHistory(pool);
}
const never = new AbortController().signal;
const question = (more: Partial<HistoryQuestion> = {}): HistoryQuestion => ({
  subtopic: "room",
  claims: database.claims("user", { room: "room" }),
  sinceMs: 0,
  limit: 25,
  payloadLimitBytes: Number.POSITIVE_INFINITY,
  xids: new Set(),
  ...more,
});
const read = async (more: Partial<HistoryQuestion> = {}): Promise<readonly StoredMessage[]> =>
  (await history.read(question(more), { signal: never })).messages;
const texts = (messages: readonly StoredMessage[]): string[] =>
  messages.map(({ event, payload }) => `${event} ${Buffer.from(payload).toString()}`);
const send = (event: string, payload: object, topic = "room"): Promise<unknown> =>
  database.admin.query(
    "INSERT INTO realtime.messages (topic, extension, event, payload, private) VALUES ($1, 'broadcast', $2, $3, true)",
    [topic, event, JSON.stringify(payload)],
  );

describe("the stored broadcasts of a channel", () => {
  it("come in the order they were sent, within one transaction too, as they are spelled", async () => {
    await database.admin.query("BEGIN");
    for (let n = 0; n < 5; n++) await send(`e${n}`, { n });
    await database.admin.query("COMMIT");
    await database.admin.query(`
      INSERT INTO realtime.messages (topic, extension, event, payload, private)
      VALUES ('room', 'broadcast', 'large', '{"n": 12345678901234567890.10}', true)`);
    await database.admin.query(String.raw`
      INSERT INTO realtime.messages (id, topic, extension, event, binary_payload, private)
      VALUES ('00000000-0000-4000-8000-000000000001', 'room', 'broadcast', 'bytes', '\x00ff', true)`);
    const messages = await read();
    expect(texts(messages.slice(0, 6))).toEqual([
      'e0 {"n": 0}',
      'e1 {"n": 1}',
      'e2 {"n": 2}',
      'e3 {"n": 3}',
      'e4 {"n": 4}',
      'large {"n": 12345678901234567890.10}',
    ]);
    expect(messages[6]).toEqual({
      id: "00000000-0000-4000-8000-000000000001",
      event: "bytes",
      encoding: "binary",
      payload: Buffer.of(0, 255),
    });
  });

  it("are the newest, since then, private ones of this topic, and no probes", async () => {
    await send("other", {}, "room 2");
    await database.admin.query(`
      INSERT INTO realtime.messages (topic, extension, event, payload, private, inserted_at) VALUES
        ('room', 'broadcast', 'public', '{}', false, now()), ('room', 'presence', 'presence', '{}', true, now()),
        ('room', 'broadcast', NULL, '{}', true, now()), ('room', 'broadcast', 'future', '{}', true, now() + interval '2 minutes'),
        ('room', 'broadcast', 'old', '{}', true, now() - interval '1 hour'),
        ('room', 'broadcast', 'new', NULL, true, now())`);
    const hourAgo = Date.now() - 3_000_000;
    expect(texts(await read())).toEqual(["old {}", "new null"]);
    expect(texts(await read({ limit: 1 }))).toEqual(["new null"]);
    expect(texts(await read({ sinceMs: hourAgo }))).toEqual(["new null"]);
    expect(texts(await read({ sinceMs: Date.now() + 60_000 }))).toEqual([]);
    expect(texts(await read({ sinceMs: 8.64e15 }))).toEqual([]);
  });

  it("are measured by the time zone of the database's sessions, in which inserted_at is written", async () => {
    const { rows } = await database.admin.query<{ name: string }>("SELECT current_database() AS name");
    const alter = `ALTER DATABASE "${rows[0]?.name}"`;
    await database.admin.query(`${alter} SET TimeZone = 'Pacific/Honolulu'; SET TimeZone = 'Pacific/Honolulu'`);
    await pool.close();
    open();
    await send("now", {});
    expect(texts(await read({ sinceMs: Date.now() - 60_000 }))).toEqual(["now {}"]);
    expect(texts(await read({ sinceMs: Date.now() + 60_000 }))).toEqual([]);
    await database.admin.query(`${alter} RESET TimeZone; RESET TimeZone`);
  });

  it("are only those that the role's policies show, whatever the channel's own rights", async () => {
    await send("all", {});
    await send("ann", { for: "ann" });
    await send("bob", { for: "bob" });
    const of = async (sub: string, role = "user"): Promise<string[]> =>
      (await read({ claims: database.claims(role, { room: "room", sub }) })).map(({ event }) => event);
    expect(await of("ann")).toEqual(["all", "ann"]);
    expect(await of("bob")).toEqual(["all", "bob"]);
    expect(await of("x", "service")).toEqual(["all", "ann", "bob"]);
    expect(await read({ claims: database.claims("user", { room: "room 2" }) })).toEqual([]);
    await expect(of("x", "anon")).rejects.toMatchObject({ code: "ACCESS_DENIED" });
  });

  it("above the limit of payloads are left out", async () => {
    await send("fits", { n: "x".repeat(10) });
    await send("does not", { n: "x".repeat(11) });
    expect((await read({ payloadLimitBytes: 19 })).map(({ event }) => event)).toEqual(["fits"]);
  });

  it("are not answered from before a transaction that the log has brought", async () => {
    await database.admin.query("BEGIN");
    await send("late", {});
    const { rows } = await database.admin.query<{ xid: string }>("SELECT pg_current_xact_id()::text AS xid");
    const xid = Number(BigInt.asUintN(32, BigInt(rows[0]?.xid ?? "0")));
    let isDone = false;
    const reading = read({ xids: new Set([xid]) }).finally(() => (isDone = true));
    await waitUntil(async () => (await read()).length === 0, { what: "another look" });
    expect(isDone).toBe(false);
    await database.admin.query("COMMIT");
    expect(texts(await reading)).toEqual(["late {}"]);
  });

  it("go up to a place in the log that lies behind what is in them, and before what comes", async () => {
    await send("one", {});
    const { upTo } = await history.read(question(), { signal: never });
    const { rows } = await database.admin.query<{ lsn: string }>(
      "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS lsn",
    );
    expect(upTo > 0n && upTo <= BigInt(rows[0]?.lsn ?? "0")).toBe(true);
  });

  it("are read as ourselves where tokens are not verified", async () => {
    await send("one", {});
    await expect(read({ claims: undefined })).rejects.toMatchObject({ code: "ACCESS_DENIED" });
    await database.sql("GRANT %service% TO %gate%; GRANT SELECT ON realtime.messages TO %gate%");
    await database.sql("CREATE POLICY own ON realtime.messages FOR SELECT TO %gate% USING (true)");
    expect(texts(await read({ claims: undefined }))).toEqual(["one {}"]);
    await database.sql("DROP POLICY own ON realtime.messages; REVOKE SELECT ON realtime.messages FROM %gate%");
  });
});

describe("what cannot be read", () => {
  it("because a policy is slow, or fails, or the table is not there, or not as it was", async () => {
    await send("one", {});
    await database.sql(
      "CREATE POLICY slow ON realtime.messages AS RESTRICTIVE FOR SELECT TO %user% USING (pg_sleep(30) IS NULL)",
    );
    await pool.close();
    open(100);
    await expect(read()).rejects.toMatchObject({ code: "POLICY_TIMEOUT" });
    await database.sql(
      "DROP POLICY slow ON realtime.messages; CREATE POLICY broken ON realtime.messages AS RESTRICTIVE FOR SELECT TO %user% USING (1 / (length(topic) - 4) = 1)",
    );
    await expect(read()).rejects.toMatchObject({ code: "POLICY_FAILED" });
    await database.sql("DROP POLICY broken ON realtime.messages; ALTER TABLE realtime.messages RENAME TO gone");
    await expect(read()).rejects.toMatchObject({ code: "REALTIME_SCHEMA_MISSING" });
    await database.sql("ALTER TABLE realtime.gone RENAME TO messages");
    await database.sql("ALTER TABLE realtime.messages DROP COLUMN binary_payload");
    expect(texts(await read())).toEqual(["one {}"]);
    await database.sql("ALTER TABLE realtime.messages DROP COLUMN payload CASCADE");
    await expect(read()).rejects.toMatchObject({ code: "TABLE_CHANGED" });
  });

  it("for a role that does not exist", async () => {
    await expect(read({ claims: { role: "nobody", exp: 1 } })).rejects.toMatchObject({ code: "ROLE_UNKNOWN" });
  });
});
