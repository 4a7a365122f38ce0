// Over 400 lines: the kinds of policies, keys and troubles that one question meets, on one database.

import { waitUntil } from "@walcast/testkit";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { AccessCatalog, principalOf, QuestionPool, Visibility, type Principal } from "./index.ts";
import { createPolicyDatabase, type PolicyDatabase } from "./test-database.ts";

let database: PolicyDatabase;
let catalog: AccessCatalog;
let pool: QuestionPool;
let visibility: Visibility;
let questions = 0;

beforeAll(async () => {
  database = await createPolicyDatabase(inject("postgresUrl"));
});
beforeEach(() => {
  questions = 0;
  catalog = new AccessCatalog({ database: database.gate, pollMs: 100, staleMs: 60_000 });
  open({ size: 5, timeoutMs: 5_000 });
});
afterEach(async () => {
  await catalog.close();
  await pool.close();
});
afterAll(() => database.drop());

interface OpenOptions {
  readonly size: number;
  readonly timeoutMs: number;
  readonly queueLimit?: number;
  readonly lostAfterMs?: number;
}

function open({ size, timeoutMs, queueLimit = 1_000, lostAfterMs = 60_000 }: OpenOptions): void {
  pool = new QuestionPool({ database: database.gate, size, queueLimit, timeoutMs });
  visibility = new Visibility({ catalog, pool, lostAfterMs, onQuestion: () => questions++ });
}
async function reopen(options: OpenOptions): Promise<void> {
  await pool.close();
  open(options);
}

const ann = "00000000-0000-4000-8000-00000000000a";
const bob = "00000000-0000-4000-8000-00000000000b";
const user = (sub: string, more: object = {}): Principal => database.principal("user", { sub, ...more });
const id = (value: unknown): string => JSON.stringify({ id: value });

async function visible(table: string, principal: Principal, keys: readonly string[]): Promise<readonly boolean[]> {
  const [schema = "public", name = table] = table.includes(".") ? table.split(".") : ["public", table];
  return await visibility.visible({ relation: await database.relation(schema, name), principal, keys });
}

describe("rows are visible to", () => {
  it("their owner, by a function that reads the claims", async () => {
    await database.sql(`
      CREATE TABLE notes (id int8 PRIMARY KEY, owner uuid, note text);
      ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
      CREATE POLICY own ON notes USING (owner = auth.uid());
      GRANT SELECT ON notes TO %user%, %anon%;
      INSERT INTO notes VALUES (1, '${ann}'), (2, '${bob}'), (9007199254740993, '${ann}')`);
    const keys = [1, 2, 3].map(id).concat('{"id":9007199254740993}', id(1));
    expect(await visible("notes", user(ann), keys)).toEqual([true, false, false, true, true]);
    expect(await visible("notes", user(bob), keys)).toEqual([false, true, false, false, false]);
    expect(await visible("notes", database.principal("anon"), keys)).not.toContain(true);
    expect(questions).toBe(3);
  });

  it("a tenant, members of a group, certain roles, and nobody, as policies say", async () => {
    await database.sql(`
      CREATE TABLE members (room int, who uuid, PRIMARY KEY (room, who));
      CREATE TABLE messages (id int PRIMARY KEY, room int, tenant text);
      ALTER TABLE members ENABLE ROW LEVEL SECURITY;
      ALTER TABLE messages ENABLE ROW LEVEL SECURITY;
      GRANT SELECT ON members, messages TO %user%, %anon%;
      CREATE POLICY me ON members TO %user% USING (who = auth.uid());
      CREATE POLICY room ON messages TO %user% USING (room IN (SELECT m.room FROM members m));
      CREATE POLICY tenant ON messages TO %user% USING (tenant = current_setting('request.jwt.claims')::json ->> 'tenant');
      INSERT INTO members VALUES (1, '${ann}');
      INSERT INTO messages VALUES (1, 1, 'x'), (2, 2, 'x'), (3, 2, 'y')`);
    const keys = [1, 2, 3].map(id);
    expect(await visible("messages", user(ann), keys)).toEqual([true, false, false]);
    expect(await visible("messages", user(bob, { tenant: "y" }), keys)).toEqual([false, false, true]);
    expect(await visible("messages", user(ann, { tenant: "x" }), keys)).toEqual([true, true, false]);
    expect(await visible("messages", database.principal("anon", { sub: ann, tenant: "x" }), keys)).not.toContain(true);
    await database.sql("CREATE POLICY never ON messages AS RESTRICTIVE USING (false)");
    expect(await visible("messages", user(ann), keys)).not.toContain(true);
  });

  it("who has the settings that policies may look at", async () => {
    await database.sql(`
      CREATE TABLE settings (id text PRIMARY KEY);
      ALTER TABLE settings ENABLE ROW LEVEL SECURITY;
      GRANT SELECT ON settings TO %user%;
      CREATE POLICY settings ON settings USING (CASE id
        WHEN 'sub' THEN current_setting('request.jwt.claim.sub') = '${ann}'
        WHEN 'role' THEN current_setting('request.jwt.claim.role') = current_user
        WHEN 'header' THEN current_setting('request.headers')::json ->> 'x-device' = 'é''"; DROP'
        WHEN 'topic' THEN current_setting('realtime.topic') = '' END);
      INSERT INTO settings VALUES ('sub'), ('role'), ('header'), ('topic')`);
    const principal = principalOf(database.claims("user", { sub: ann }), { "x-device": "é'\"; DROP" });
    const keys = ["sub", "role", "header", "topic"].map(id);
    expect(await visible("settings", principal, keys)).toEqual([true, true, true, true]);
  });

  it("everyone with BYPASSRLS, owners without FORCE, and all of a table without policies: nothing is asked", async () => {
    await database.sql(`
      CREATE TABLE owned (id int PRIMARY KEY);
      ALTER TABLE owned OWNER TO %owner%;
      ALTER TABLE owned ENABLE ROW LEVEL SECURITY;
      GRANT SELECT ON owned TO PUBLIC;
      CREATE TABLE open (id int PRIMARY KEY);
      GRANT SELECT ON open TO PUBLIC;
      CREATE TABLE forced (id int PRIMARY KEY);
      ALTER TABLE forced OWNER TO %owner%;
      ALTER TABLE forced ENABLE ROW LEVEL SECURITY;
      ALTER TABLE forced FORCE ROW LEVEL SECURITY;
      INSERT INTO owned VALUES (1);
      INSERT INTO forced VALUES (1)`);
    for (const role of ["service", "owner", "member"])
      expect(await visible("owned", database.principal(role), [id(1), id(2)])).toEqual([true, true]);
    expect(await visible("open", database.principal("anon"), [id(1)])).toEqual([true]);
    expect(await visible("forced", database.principal("service"), [id(1)])).toEqual([true]);
    expect(questions).toBe(0);
    expect(await visible("forced", database.principal("owner"), [id(1)])).toEqual([false]);
    expect(await visible("owned", database.principal("anon"), [id(1)])).toEqual([false]);
    expect(questions).toBe(2);
  });
});

describe("keys of any type", () => {
  const types: [type: string, stored: string, wire: unknown, other: unknown][] = [
    ["int2", "-7", -7, 7],
    ["uuid", ann, ann, bob],
    ["text", 'a"\\é\u2028', 'a"\\é\u2028', "a"],
    ["varchar(20)", "it's", "it's", "its"],
    ["char(6)", "abc", "abc   ", "abd   "],
    ['"char"', "Z", "Z", "z"],
    ["name", "n", "n", "m"],
    ["bool", "t", true, false],
    ["numeric", "1.50", 1.5, 1.51],
    ["numeric(30,5)", "12345678901234567890.123", "12345678901234567890.12300", 1],
    ["float8", "0.1", 0.1, 0.2],
    ["float4", "1.1", 1.1, 1.2],
    ["oid", "42", "42", "43"],
    ["bytea", "\\xdeadbeef", "deadbeef", "deadbeee"],
    ["date", "2024-02-29", "2024-02-29", "2024-03-01"],
    ["date", "infinity", "infinity", "-infinity"],
    ["time", "12:34:56.789", "12:34:56.789", "12:34:56"],
    ["timestamp", "2024-02-29 12:34:56.123456", "2024-02-29T12:34:56.123456", "2024-02-29T12:34:56"],
    ["timestamptz", "2024-02-29 12:34:56.123456+02", "2024-02-29T10:34:56.123456+00:00", "2024-02-29T12:34:56+00:00"],
    ["interval", "1 day 02:03:04.5", "1 day 02:03:04.5", "1 day"],
    ["inet", "10.0.0.1/8", "10.0.0.1/8", "10.0.0.1"],
    ["macaddr", "08:00:2b:01:02:03", "08:00:2b:01:02:03", "08:00:2b:01:02:04"],
    ["bit(4)", "1010", "1010", "1011"],
    ["varbit", "101", "101", "1010"],
    ["jsonb", '{"a": [1, "x"]}', { a: [1, "x"] }, { a: [1] }],
    ["int4[]", "{1,2,NULL}", [1, 2, null], [1, 2]],
    ["text[]", '{"a b","c,d"}', ["a b", "c,d"], ["a b"]],
    ["int4range", "[1,5)", "[1,5)", "[1,6)"],
    ["tstzrange", "[2024-01-01 00:00+00,)", '["2024-01-01 00:00:00+00",)', "empty"],
    ["pg_lsn", "16/B374D848", "16/B374D848", "16/0"],
    ['"Odd Types"."Mood ""x"""', "so-so", "so-so", "glad"],
    ['"Odd Types".positive', "5", 5, 6],
    ['"Odd Types".short', "ab ", "ab ", "ac "],
    ['"Odd Types".moods', "{glad}", ["glad"], ["so-so"]],
  ];

  beforeAll(() =>
    database.sql(`
      CREATE SCHEMA "Odd Types";
      GRANT USAGE ON SCHEMA "Odd Types" TO PUBLIC;
      CREATE TYPE "Odd Types"."Mood ""x""" AS ENUM ('glad', 'so-so');
      CREATE DOMAIN "Odd Types".positive AS int CHECK (VALUE > 0);
      CREATE DOMAIN "Odd Types".short AS char(3);
      CREATE DOMAIN "Odd Types".moods AS "Odd Types"."Mood ""x"""[]`),
  );

  it.each(types)("%s %s", async (type, stored, wire, other) => {
    await database.sql(`
      DROP TABLE IF EXISTS "a ""key""";
      CREATE TABLE "a ""key""" ("the ""id""" ${type} PRIMARY KEY);
      ALTER TABLE "a ""key""" ENABLE ROW LEVEL SECURITY;
      CREATE POLICY everything ON "a ""key""" USING (true);
      GRANT SELECT ON "a ""key""" TO %user%`);
    await database.admin.query(`INSERT INTO "a ""key""" VALUES ($1)`, [stored]);
    const keys = [wire, other].map((value) => JSON.stringify({ 'the "id"': value }));
    expect(await visible('a "key"', user(ann), keys)).toEqual([true, false]);
    expect(questions).toBe(1);
  });

  it("in composite keys, in whatever order the columns are", async () => {
    await database.sql(`
      CREATE TABLE lines (note text, at timestamptz, number int, document uuid, PRIMARY KEY (document, number, at));
      ALTER TABLE lines ENABLE ROW LEVEL SECURITY;
      CREATE POLICY short ON lines USING (note <> 'secret');
      GRANT SELECT ON lines TO %user%;
      INSERT INTO lines VALUES ('a', '2024-01-01Z', 1, '${ann}'), ('secret', '2024-01-01Z', 2, '${ann}')`);
    const key = (number: number, document: string): string =>
      JSON.stringify({ at: "2024-01-01T00:00:00+00:00", number, document });
    const keys = [key(1, ann), key(2, ann), key(1, bob)];
    expect(await visible("lines", user(ann), keys)).toEqual([true, false, false]);
  });

  it("uses the key's index, however large the table", async () => {
    await database.sql(`
      CREATE TABLE large (id int8 PRIMARY KEY, owner uuid);
      ALTER TABLE large ENABLE ROW LEVEL SECURITY;
      CREATE FUNCTION looked_at(uuid) RETURNS bool LANGUAGE plpgsql AS
        $$ BEGIN PERFORM nextval('looks'); RETURN true; END $$;
      CREATE SEQUENCE looks;
      GRANT USAGE ON SEQUENCE looks TO %user%;
      CREATE POLICY own ON large USING (looked_at(owner));
      GRANT SELECT ON large TO %user%;
      INSERT INTO large SELECT n, '${ann}' FROM generate_series(1, 20000) n;
      ANALYZE large`);
    const keys = Array.from({ length: 50 }, (_, n) => id(n * 100 + 1));
    expect(await visible("large", user(ann), keys)).not.toContain(false);
    const { rows } = await database.admin.query("SELECT last_value::int AS looks FROM looks");
    expect(rows).toEqual([{ looks: 50 }]);
  });

  it("partitioned tables and partitions by their own policies, and inheritance children by theirs", async () => {
    await database.sql(`
      CREATE TABLE measured (id int PRIMARY KEY) PARTITION BY RANGE (id);
      CREATE TABLE measured_1 PARTITION OF measured FOR VALUES FROM (0) TO (10);
      ALTER TABLE measured ENABLE ROW LEVEL SECURITY;
      CREATE POLICY p ON measured USING (id < 5);
      CREATE TABLE parent (id int PRIMARY KEY);
      CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
      ALTER TABLE parent ENABLE ROW LEVEL SECURITY;
      CREATE POLICY p ON parent USING (true);
      GRANT SELECT ON measured, measured_1, parent, child TO %user%;
      INSERT INTO measured VALUES (1), (6);
      INSERT INTO parent VALUES (1);
      INSERT INTO child VALUES (2)`);
    expect(await visible("measured", user(ann), [id(1), id(6)])).toEqual([true, false]);
    expect(await visible("measured_1", user(ann), [id(1), id(6)])).toEqual([true, true]);
    expect(await visible("parent", user(ann), [id(1), id(2)])).toEqual([true, false]);
  });
});

describe("what cannot be answered", () => {
  beforeAll(() =>
    database.sql(`
      CREATE TABLE guarded (id int PRIMARY KEY, secret text);
      ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
      CREATE POLICY everything ON guarded USING (true);
      GRANT SELECT (id) ON guarded TO %user%;
      GRANT SELECT (secret) ON guarded TO %anon%;
      GRANT SELECT ON guarded TO %stranger%;
      INSERT INTO guarded VALUES (1, 'x');
      CREATE TABLE raising (id int PRIMARY KEY);
      ALTER TABLE raising ENABLE ROW LEVEL SECURITY;
      CREATE FUNCTION raise() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'no, never'; END $$;
      CREATE POLICY p ON raising USING (raise());
      INSERT INTO raising VALUES (1);
      CREATE TABLE broken (id int PRIMARY KEY);
      ALTER TABLE broken ENABLE ROW LEVEL SECURITY;
      CREATE FUNCTION broken() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN EXISTS (SELECT FROM gone); END $$;
      CREATE POLICY p ON broken USING (broken());
      INSERT INTO broken VALUES (1);
      CREATE TABLE slow (id int PRIMARY KEY);
      ALTER TABLE slow ENABLE ROW LEVEL SECURITY;
      CREATE POLICY p ON slow USING (pg_sleep(60) IS NULL);
      INSERT INTO slow VALUES (1);
      GRANT SELECT ON raising, broken, slow TO %user%`),
  );

  it("for want of a privilege on the key is an error of its own, and other columns do not matter", async () => {
    expect(await visible("guarded", user(ann), [id(1)])).toEqual([true]);
    await expect(visible("guarded", database.principal("anon"), [id(1)])).rejects.toMatchObject({
      code: "ACCESS_DENIED",
    });
  });

  it.each(["nobody at all", "none", "", "NONE", 'x"; DROP TABLE guarded; --', "postgres'"])(
    "the role %s is not known",
    async (role) => {
      const principal = principalOf({ role, exp: 1 });
      await expect(visible("guarded", principal, [id(1)])).rejects.toMatchObject({ code: "ROLE_UNKNOWN", role });
    },
  );

  it("a role that walcast was not granted is not taken, and a superuser neither", async () => {
    await expect(visible("guarded", database.principal("stranger"), [id(1)])).rejects.toMatchObject({
      code: "ROLE_NOT_GRANTED",
    });
  });

  it("policies that raise or are broken fail, each for itself, and the connection goes on", async () => {
    await reopen({ size: 1, timeoutMs: 5_000 });
    await expect(visible("raising", user(ann), [id(1)])).rejects.toMatchObject({
      code: "POLICY_FAILED",
      sqlState: "P0001",
    });
    await expect(visible("broken", user(ann), [id(1)])).rejects.toMatchObject({
      code: "POLICY_FAILED",
      sqlState: "42P01",
    });
    expect(await visible("guarded", user(ann), [id(1)])).toEqual([true]);
  });

  it("a slow policy is cancelled", async () => {
    await reopen({ size: 1, timeoutMs: 100 });
    await expect(visible("slow", user(ann), [id(1)])).rejects.toMatchObject({ code: "POLICY_TIMEOUT" });
    expect(await visible("guarded", user(ann), [id(1)])).toEqual([true]);
  });

  it("values that are no key's are an error, not a leak", async () => {
    await expect(visible("guarded", user(ann), [id("1); DROP TABLE guarded")])).rejects.toMatchObject({
      sqlState: "22P02",
    });
    expect(await visible("guarded", user(ann), ['{"id":null}', "{}", '{"ID":1}'])).toEqual([false, false, false]);
  });

  it("a table that is dropped, renamed or altered meanwhile", async () => {
    await database.sql(`
      CREATE TABLE moving (id int PRIMARY KEY);
      ALTER TABLE moving ENABLE ROW LEVEL SECURITY;
      CREATE POLICY p ON moving USING (true);
      GRANT SELECT ON moving TO %user%;
      INSERT INTO moving VALUES (1)`);
    const relation = await database.relation("public", "moving");
    const ask = (): Promise<readonly boolean[]> =>
      visibility.visible({ relation, principal: user(ann), keys: [id(1)] });
    expect(await ask()).toEqual([true]);
    await database.sql("ALTER TABLE moving RENAME TO moved");
    expect(await ask()).toEqual([true]);
    await database.sql(
      "CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO PUBLIC; ALTER TABLE moved SET SCHEMA elsewhere",
    );
    expect(await ask()).toEqual([true]);
    await database.sql("DROP TABLE elsewhere.moved");
    await expect(ask()).rejects.toMatchObject({ code: "TABLE_CHANGED" });
  });

  it("while the database is away", async () => {
    const away = { connectionString: "postgres://127.0.0.1:1/x" };
    const dead = new QuestionPool({ database: away, size: 1, queueLimit: 1, timeoutMs: 100 });
    const relation = await database.relation("public", "guarded");
    const request = { relation, principal: user(ann), keys: [id(1)] };
    const unavailable = { code: "DATABASE_UNAVAILABLE" };
    await expect(new Visibility({ catalog, pool: dead }).visible(request)).rejects.toMatchObject(unavailable);
    const blind = new AccessCatalog({ database: away, pollMs: 100, staleMs: 100 });
    await expect(new Visibility({ catalog: blind, pool }).visible(request)).rejects.toMatchObject(unavailable);
    await Promise.all([dead.close(), blind.close()]);
  });

  it("a connection that breaks fails its question, and the next one makes another", async () => {
    await reopen({ size: 1, timeoutMs: 60_000 });
    const broken = visible("slow", user(ann), [id(1)]).catch((error: unknown) => error);
    const backends = `SELECT pid FROM pg_stat_activity WHERE usename = $1 AND query LIKE '%json_to_recordset%' AND state = 'active'`;
    const find = async (): Promise<number | undefined> =>
      (await database.admin.query<{ pid: number }>(backends, [database.gateName])).rows[0]?.pid;
    const pid = await waitUntil(find, { what: "the slow question to run" });
    await database.admin.query("SELECT pg_terminate_backend($1)", [pid]);
    expect(await broken).toMatchObject({ code: "DATABASE_UNAVAILABLE" });
    expect(await visible("guarded", user(ann), [id(1)])).toEqual([true]);
  });
});

describe("many at once", () => {
  it("equal questions that wait are asked once, and one that runs is not joined", async () => {
    await database.sql(`
      CREATE TABLE busy (id int PRIMARY KEY);
      ALTER TABLE busy ENABLE ROW LEVEL SECURITY;
      CREATE POLICY p ON busy USING (pg_try_advisory_lock_shared(77) OR true);
      GRANT SELECT ON busy TO %user%`);
    await reopen({ size: 1, timeoutMs: 60_000 });
    const relation = await database.relation("public", "busy");
    await catalog.access(relation, database.role("user"));
    const ask = (): Promise<readonly boolean[]> =>
      visibility.visible({ relation, principal: user(ann), keys: [id(1)] });
    await database.sql("BEGIN; LOCK TABLE busy");
    const first = ask();
    const blocked = "SELECT FROM pg_locks WHERE relation = 'busy'::regclass AND NOT granted";
    await waitUntil(async () => (await database.admin.query(blocked)).rowCount === 1, { what: "the first to run" });
    const others = Array.from({ length: 10 }, ask);
    await waitUntil(() => pool.load.waiting === 1, { what: "one to wait for all of them" });
    await database.sql("INSERT INTO busy VALUES (1); COMMIT");
    await first;
    expect(new Set((await Promise.all(others)).flat())).toEqual(new Set([true]));
    expect(questions).toBe(2);
  });

  it("what nobody waits for any more is not asked", async () => {
    await reopen({ size: 1, timeoutMs: 60_000 });
    const hold = Promise.withResolvers<void>();
    const blocker = pool.ask("other", () => hold.promise);
    const stop = new AbortController();
    const relation = await database.relation("public", "guarded");
    const request = { relation, principal: user(ann), keys: [id(1)] };
    const left = visibility.visible(request, { signal: stop.signal });
    await waitUntil(() => pool.load.waiting === 1, { what: "it to wait" });
    stop.abort(new Error("the channel is gone"));
    await expect(left).rejects.toThrow("the channel is gone");
    expect(pool.load.waiting).toBe(0);
    hold.resolve();
    await blocker;
    expect(await visibility.visible(request)).toEqual([true]);
    await expect(visibility.visible(request, { signal: stop.signal })).rejects.toThrow("the channel is gone");
  });

  it("policies are asked about the rows in question and no others", async () => {
    await database.sql(`
      CREATE TABLE touchy (id int PRIMARY KEY) WITH (autovacuum_enabled = false);
      INSERT INTO touchy SELECT generate_series(1, 10000);
      ALTER TABLE touchy ENABLE ROW LEVEL SECURITY;
      GRANT SELECT ON touchy TO %user%;
      CREATE POLICY touchy ON touchy USING (1 / (CASE WHEN id = 5000 THEN 1 ELSE 0 END) = 1)`);
    expect(await visible("touchy", user(ann), [id(5_000), id(20_000)])).toEqual([true, false]);
  });

  it("a slow table leaves a connection to the others", async () => {
    await reopen({ size: 2, timeoutMs: 1_500 });
    const slow = Array.from({ length: 4 }, (_, n) =>
      visible("slow", user(ann, { n }), [id(1)]).catch(() => "cancelled"),
    );
    await waitUntil(() => pool.load.running === 1 && pool.load.waiting === 3, { what: "the slow ones to wait" });
    for (let n = 0; n < 20; n++) expect(await visible("guarded", user(ann, { n }), [id(1)])).toEqual([true]);
    expect(pool.load).toEqual({ running: 1, waiting: 3 });
    await pool.close().catch(() => undefined);
    open({ size: 1, timeoutMs: 100 });
    await Promise.all(slow);
  });

  it("claims of one question never reach another on the same connection", async () => {
    await reopen({ size: 2, timeoutMs: 5_000 });
    const people = Array.from({ length: 50 }, (_, n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`);
    await database.sql(`
      CREATE TABLE mixed (id uuid PRIMARY KEY);
      ALTER TABLE mixed ENABLE ROW LEVEL SECURITY;
      CREATE POLICY own ON mixed USING (id = auth.uid());
      GRANT SELECT ON mixed TO %user%;
      INSERT INTO mixed SELECT unnest('{${people.join(",")}}'::uuid[])`);
    const keys = people.map(id);
    const answers = await Promise.all(people.map((sub) => visible("mixed", user(sub), keys)));
    expect(answers).toEqual(people.map((_, at) => people.map((_, n) => n === at)));
    // And what was set for a question ends with it.
    const settings = await pool.ask("test", (client) =>
      client.query<Record<string, string>>(
        `SELECT current_user AS role, current_setting('request.jwt.claims', true) AS claims,
                current_setting('statement_timeout') AS timeout`,
      ),
    );
    expect(settings.rows).toEqual([{ role: database.gateName, claims: "", timeout: "0" }]);
  });

  it("nor what a function says that is wrongly declared IMMUTABLE", async () => {
    await reopen({ size: 1, timeoutMs: 5_000 });
    await database.sql(`
      CREATE FUNCTION auth.me() RETURNS uuid IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN auth.uid(); END $$;
      CREATE TABLE folded (id int PRIMARY KEY, owner uuid);
      ALTER TABLE folded ENABLE ROW LEVEL SECURITY;
      CREATE POLICY own ON folded USING (owner = auth.me());
      GRANT SELECT ON folded TO %user%;
      INSERT INTO folded VALUES (1, '${ann}'), (2, '${bob}')`);
    for (let round = 0; round < 10; round++) {
      expect(await visible("folded", user(ann), [id(1), id(2)])).toEqual([true, false]);
      expect(await visible("folded", user(bob), [id(1), id(2)])).toEqual([false, true]);
    }
  });

  it("more than may wait are refused", async () => {
    await reopen({ size: 1, timeoutMs: 60_000, queueLimit: 2 });
    const hold = Promise.withResolvers<void>();
    const blocker = pool.ask("other", () => hold.promise);
    const asked = Array.from({ length: 3 }, (_, n) => visible("guarded", user(ann, { n }), [id(1)]));
    await expect(
      Promise.any(asked.map((one) => one.then(Promise.reject.bind(Promise), (error: unknown) => error))),
    ).resolves.toMatchObject({
      code: "POLICY_QUEUE_FULL",
    });
    hold.resolve();
    await blocker;
    const outcomes = await Promise.allSettled(asked);
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(2);
  });
});

describe("a transaction that cannot be seen yet", () => {
  it("is waited for while it runs, and taken for lost when it does not", async () => {
    await reopen({ size: 5, timeoutMs: 5_000, lostAfterMs: 100 });
    await database.sql(`
      CREATE TABLE late (id int PRIMARY KEY, owner uuid);
      ALTER TABLE late ENABLE ROW LEVEL SECURITY;
      CREATE POLICY own ON late USING (owner = auth.uid());
      GRANT SELECT ON late TO %user%`);
    await database.admin.query("BEGIN");
    await database.admin.query(`INSERT INTO late VALUES (1, '${ann}')`);
    const { rows } = await database.admin.query<{ xid: string }>("SELECT txid_current() % (2 ^ 32)::int8 AS xid");
    const xid = Number(rows[0]?.xid);
    const relation = await database.relation("public", "late");
    const ask = (...xids: number[]) =>
      visibility.visible({ relation, principal: user(ann), keys: [id(1)], xids: new Set(xids) });
    let answer: readonly boolean[] | undefined;
    const asking = ask(xid).then((visible) => (answer = visible));
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(answer).toBeUndefined();
    expect(await ask((xid + 1_000_000) % 2 ** 32)).toEqual([false]);
    await database.admin.query("COMMIT");
    expect(await asking).toEqual([true]);
  });
});
