import { migrate } from "@walcast/realtime-schema";
import { waitUntil } from "@walcast/testkit";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import {
  channelRefusal,
  channelShutdown,
  ChannelPolicies,
  httpRefusal,
  QuestionPool,
  type ChannelGrants,
  type ChannelPoliciesOptions,
  type RowSecurityError,
} from "./index.ts";
import { createPolicyDatabase, type PolicyDatabase } from "./test-database.ts";

let database: PolicyDatabase;
let pool: QuestionPool;
let policies: ChannelPolicies;
let denied: string[];

beforeAll(async () => {
  database = await createPolicyDatabase(inject("postgresUrl"));
  await migrate(database.admin, { gatewayRole: database.gateName });
  await database.sql(`
    GRANT USAGE ON SCHEMA realtime TO %user%, %anon%, %service%, %stranger%;
    GRANT SELECT, INSERT ON realtime.messages TO %user%, %service%, %stranger%;
    CREATE SEQUENCE public.evaluations;
    GRANT USAGE ON SEQUENCE public.evaluations TO PUBLIC;
    CREATE FUNCTION counted(verdict bool) RETURNS bool LANGUAGE plpgsql AS
      $$ BEGIN PERFORM nextval('public.evaluations'); RETURN verdict; END $$;
    CREATE POLICY listen ON realtime.messages FOR SELECT TO %user%
      USING (extension = 'broadcast' AND realtime.topic() = 'room:' || (auth.claims() ->> 'room') AND counted(true));
    CREATE POLICY speak ON realtime.messages FOR INSERT TO %user%
      WITH CHECK (extension = 'presence' AND topic = realtime.topic() AND auth.claims() ->> 'room' = '1')`);
});
beforeEach(() => {
  denied = [];
  pool = open();
  policies = create({ cacheMs: 0 });
});
afterEach(() => pool.close());
afterAll(() => database.drop());

const open = ({ timeoutMs = 5_000 } = {}): QuestionPool =>
  new QuestionPool({ database: database.gate, size: 3, queueLimit: 100, timeoutMs });
const create = (options: Partial<ChannelPoliciesOptions>): ChannelPolicies =>
  new ChannelPolicies({ pool, cacheMs: 0, onDenied: ({ code }) => denied.push(code), ...options });
const ask = (role: string, subtopic: string, claims: Record<string, unknown> = {}): Promise<ChannelGrants> =>
  policies.grants({ subtopic, claims: database.claims(role, claims) });
const grants = (granted: string): ChannelGrants => ({
  broadcast: { read: granted.includes("b"), write: granted.includes("B") },
  presence: { read: granted.includes("p"), write: granted.includes("P") },
});
async function evaluations(): Promise<number> {
  const { rows } = await database.admin.query<{ n: number }>("SELECT nextval('public.evaluations')::int AS n");
  return rows[0]?.n ?? 0;
}

describe("rights in private channels", () => {
  it("are what policies say of each kind of message, reading and writing apart", async () => {
    expect(await ask("user", "room:1", { room: 1 })).toEqual(grants("bP"));
    expect(await ask("user", "room:2", { room: 2 })).toEqual(grants("b"));
    expect(await ask("user", "room:2", { room: 1 })).toEqual(grants("P"));
    expect(await ask("user", "room:1", {})).toEqual(grants(""));
    expect(await ask("user", "", { room: 1 })).toEqual(grants(""));
    expect(denied).toEqual([]);
  });

  it("are everything for who has BYPASSRLS, and nothing for who lacks the privileges", async () => {
    expect(await ask("service", "room:1")).toEqual(grants("bBpP"));
    expect(await ask("anon", "room:1")).toEqual(grants(""));
    expect(denied).toContain("ACCESS_DENIED");
  });

  it("leave nothing behind: no rows, no settings", async () => {
    await ask("service", "room:1");
    expect((await database.admin.query("SELECT FROM realtime.messages")).rowCount).toBe(0);
    const { rows } = await pool.ask("test", (client) =>
      client.query("SELECT current_user AS role, current_setting('realtime.topic', true) AS topic"),
    );
    expect(rows).toEqual([{ role: database.gateName, topic: "" }]);
  });

  it("may depend on headers, and on topics of any text", async () => {
    const topic = `it's "odd"; \\ DROP TABLE realtime.messages -- é`;
    await database.admin.query("BEGIN");
    await database.sql(`CREATE POLICY odd ON realtime.messages FOR SELECT TO %user%
      USING (current_setting('request.headers')::json ->> 'x-key' = 'k' AND topic LIKE 'it''s%')`);
    await database.admin.query("COMMIT");
    const claims = database.claims("user");
    expect(await policies.grants({ subtopic: topic, claims, headers: { "x-key": "k" } })).toEqual(grants("bp"));
    expect(await policies.grants({ subtopic: topic, claims })).toEqual(grants(""));
    await database.sql("DROP POLICY odd ON realtime.messages");
  });

  it.each(["nobody", "none", ""])("are none for the role %s, which does not exist", async (role) => {
    const answer = await policies.grants({ subtopic: "room:1", claims: { role, exp: 1 } });
    expect([answer, denied]).toEqual([grants(""), ["ROLE_UNKNOWN"]]);
  });

  it("are none for a role that walcast was not granted", async () => {
    expect(await ask("stranger", "room:1")).toEqual(grants(""));
    expect(denied).toEqual(["ROLE_NOT_GRANTED"]);
  });

  it("that a policy's error hides are denied, the others hold", async () => {
    await database.sql(`
      CREATE FUNCTION fail() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
      CREATE POLICY failing ON realtime.messages FOR SELECT TO %user% USING (topic = 'failing' AND fail())`);
    expect(await ask("user", "failing", { room: 1 })).toEqual(grants("P"));
    expect(denied).toEqual(["POLICY_FAILED"]);
    await database.sql("DROP POLICY failing ON realtime.messages");
  });
});

describe("what cannot be told", () => {
  const failing = async (): Promise<RowSecurityError> => {
    const outcome: unknown = await ask("user", "room:1", { room: 1 }).catch((error: unknown) => error);
    return outcome as RowSecurityError;
  };
  /** What clients are told: at the join, at a new token, over HTTP. */
  const texts = (error: RowSecurityError) => [
    channelRefusal(error),
    channelShutdown(error),
    httpRefusal(error).message,
  ];
  const unavailable = "Realtime was unable to connect to the project database";

  it("for a policy that takes too long", async () => {
    await database.sql("CREATE POLICY slow ON realtime.messages FOR SELECT TO %user% USING (pg_sleep(30) IS NULL)");
    await pool.close();
    pool = open({ timeoutMs: 100 });
    policies = create({});
    const error = await failing();
    await database.sql("DROP POLICY slow ON realtime.messages");
    expect(error.code).toBe("POLICY_TIMEOUT");
    expect(texts(error)).toEqual([
      "QueryCanceled: canceling statement due to statement timeout",
      "Query was cancelled, please try again",
      "Query canceled",
    ]);
  });

  it("without a partition, without the right to probe, without the table, each with its own code", async () => {
    const undo = async (sql: string, code: string): Promise<RowSecurityError> => {
      await database.sql(sql);
      const error = await failing();
      expect(error.code).toBe(code);
      return error;
    };
    const { rows } = await database.admin.query<{ drop: string }>(
      "SELECT string_agg(format('DROP TABLE %s', inhrelid::regclass), ';') AS drop FROM pg_inherits WHERE inhparent = 'realtime.messages'::regclass",
    );
    expect(texts(await undo(rows[0]?.drop ?? "", "PARTITION_MISSING"))).toEqual([
      "MissingPartition: Realtime was unable to find the expected messages partition",
      unavailable,
      "Missing messages partition",
    ]);
    await database.admin.query("SELECT realtime.walcast_ensure_partitions()");
    await undo("REVOKE INSERT (id) ON realtime.messages FROM %gate%", "PROBE_REFUSED");
    await database.sql(
      "GRANT INSERT (id) ON realtime.messages TO %gate%; ALTER POLICY walcast_probe ON realtime.messages TO %anon%",
    );
    expect((await failing()).code).toBe("PROBE_REFUSED");
    await database.sql("ALTER POLICY walcast_probe ON realtime.messages TO %gate%");
    const missing = await undo("ALTER TABLE realtime.messages RENAME TO gone", "REALTIME_SCHEMA_MISSING");
    expect(texts(missing)).toEqual([unavailable, unavailable, "Unable to authorize broadcast"]);
    await database.sql("ALTER TABLE realtime.gone RENAME TO messages");
    expect(await ask("user", "room:1", { room: 1 })).toEqual(grants("bP"));
  });

  it("while the database is away, or has no connection left", async () => {
    const away = new QuestionPool({
      database: { connectionString: "postgres://127.0.0.1:1/x" },
      size: 1,
      queueLimit: 0,
      timeoutMs: 100,
    });
    policies = create({ pool: away });
    expect(texts(await failing())).toEqual([
      `UnableToConnectToProject: ${unavailable}`,
      unavailable,
      "Tenant database unavailable",
    ]);
    const [, second] = await Promise.allSettled([ask("user", "a"), ask("user", "b")]);
    expect(second?.status === "rejected" && channelRefusal(second.reason as RowSecurityError)).toBe(
      "IncreaseConnectionPool: Please increase your connection pool size",
    );
    await database.admin.query(`ALTER ROLE ${database.gateName} CONNECTION LIMIT 0`);
    await pool.close();
    pool = open();
    policies = create({});
    expect(texts(await failing())).toEqual([
      "DatabaseLackOfConnections: Database can't accept more connections, Realtime won't connect",
      unavailable,
      "Tenant database has too many connections",
    ]);
    await database.admin.query(`ALTER ROLE ${database.gateName} CONNECTION LIMIT -1`);
    await away.close();
  });
});

describe("an evaluation", () => {
  it("serves a storm of a thousand joins at once", async () => {
    const before = await evaluations();
    const answers = await Promise.all(Array.from({ length: 1000 }, () => ask("user", "room:1", { room: 1 })));
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(await evaluations()).toBe(before + 2); // once by the policy, once by this question
  });

  it("serves equal tokens for a while, and no others", async () => {
    let now = 0;
    policies = create({ cacheMs: 1_000, now: () => now });
    const before = await evaluations();
    await ask("user", "room:1", { room: 1 });
    now += 999;
    await ask("user", "room:1", { room: 1 });
    expect(await evaluations()).toBe(before + 2);
    await ask("user", "room:1", { room: 1, sub: "another" });
    await ask("user", "room:2", { room: 2 });
    expect(await evaluations()).toBe(before + 5);
    now += 1;
    await ask("user", "room:1", { room: 1 });
    expect(await evaluations()).toBe(before + 7);
    policies.forget();
    await ask("user", "room:1", { room: 1 });
    expect(await evaluations()).toBe(before + 9);
  });

  it("that was under way when everything was to be forgotten serves nobody after it", async () => {
    policies = create({ cacheMs: 60_000 });
    await database.admin.query("BEGIN; LOCK TABLE realtime.messages");
    const asked = ask("user", "room:1", { room: 1 });
    await waitUntil(() => pool.load.running === 1, { what: "the question to run" });
    policies.forget();
    await database.admin.query("COMMIT");
    await asked;
    const before = await evaluations();
    await ask("user", "room:1", { room: 1 });
    expect(await evaluations()).toBe(before + 2);
  });

  it("is kept for as many questions as the limit says", async () => {
    policies = create({ cacheMs: 60_000, cacheLimit: 2 });
    for (const room of [1, 2, 3]) await ask("user", `room:${room}`, { room });
    const before = await evaluations();
    await ask("user", "room:3", { room: 3 });
    expect(await evaluations()).toBe(before + 1);
    await ask("user", "room:1", { room: 1 });
    expect(await evaluations()).toBe(before + 3);
  });
});
