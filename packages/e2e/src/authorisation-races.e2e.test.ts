import { startPostgres, waitUntil, type ServerProcess } from "@walcast/testkit";
import { SignJWT } from "jose";
import { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { placeOf, startCluster, untilHealthy, type Cluster } from "./cluster.ts";
import { openRaw, type RawSocket } from "./raw-socket.ts";

// What is forbidden stays hidden, and what is permitted arrives, also when PostgreSQL is slow, busy or away at the moment at
// which it is asked. The server is this file's own: it is stopped, and waits for standbys that do not exist.

const secret = "a-secret-of-at-least-32-characters!!";
let postgres: ServerProcess;
let cluster: Cluster;
let sockets: RawSocket[] = [];
beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres.stop());
afterEach(async () => {
  sockets.forEach((socket) => socket.end());
  sockets = [];
  await cluster.stop();
});

const schema = `
  CREATE TABLE notes (id int PRIMARY KEY, owner text NOT NULL);
  DO $$ BEGIN CREATE ROLE race_user NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
  GRANT USAGE ON SCHEMA public TO race_user;
  GRANT SELECT ON notes TO race_user;
  CREATE FUNCTION me() RETURNS text STABLE LANGUAGE sql AS
    $$ SELECT current_setting('request.jwt.claims', true)::json ->> 'sub' $$;
  ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON notes FOR SELECT TO race_user USING (owner = me() OR owner = 'all');
  CREATE PUBLICATION supabase_realtime FOR ALL TABLES`;

async function start(env: Record<string, string> = {}): Promise<void> {
  cluster = await startCluster({
    postgresUrl: postgres.url,
    natsUrl: inject("natsUrl"),
    schema,
    env: { SECURE_CHANNELS: "true", JWT_SECRET: secret, ACCESS_POLL_MS: "100", ...env },
  });
}

type Frame = readonly [unknown, unknown, string, string, Record<string, unknown>];
const token = (sub: string): Promise<string> =>
  new SignJWT({ sub, role: "race_user" })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(secret));

async function subscribe(sub: string, resume?: { readonly from: string }): Promise<RawSocket> {
  const socket = await openRaw(cluster.url, { vsn: "2.0.0", apikey: await token(sub) });
  sockets.push(socket);
  const config = {
    postgres_changes: [{ event: "*", schema: "public", table: "notes" }],
    ...(resume === undefined ? {} : { resume }),
  };
  socket.send(["1", "1", "realtime:notes", "phx_join", { config }]);
  await socket.next((frame) => (frame as Frame)[3] === "system", "the end of subscribing");
  return socket;
}
const idsOf = ({ frames }: RawSocket): unknown[] =>
  (frames as Frame[])
    .filter(([, , , event]) => event === "postgres_changes")
    .map((frame) => (frame[4]["data"] as { record?: { id?: number } }).record?.id);
const until = (socket: RawSocket, ids: readonly number[], timeoutMs = 20_000): Promise<unknown> =>
  waitUntil(() => idsOf(socket).length >= ids.length, {
    what: `${JSON.stringify(ids)}, not ${JSON.stringify(idsOf(socket))}`,
    timeoutMs,
  });
const insert = (id: number, owner: string): Promise<unknown> =>
  cluster.sql.query("INSERT INTO notes VALUES ($1, $2)", [id, owner]);

describe("a commit that reaches the log before others see it", () => {
  beforeEach(() => start());

  it("is judged by what it made of the row", async () => {
    await insert(1, "ann");
    await insert(2, "bob");
    const [ann, bob] = [await subscribe("ann"), await subscribe("bob")];
    // Commits wait for a standby that does not exist, after they are in WAL and before anybody sees them.
    await cluster.sql.query("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    await cluster.sql.query("ALTER SYSTEM SET synchronous_commit = 'local'");
    await cluster.sql.query("SELECT pg_reload_conf()");
    const writer = new Client({ connectionString: cluster.database.url });
    await writer.connect();
    try {
      await writer.query("SET synchronous_commit = 'on'");
      const committed = writer.query("UPDATE notes SET owner = CASE owner WHEN 'ann' THEN 'bob' ELSE 'ann' END");
      await waitUntil(
        async () => {
          const { rowCount } = await cluster.sql.query(
            "SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE 'UPDATE%'",
          );
          return rowCount === 1;
        },
        { what: "the commit to wait" },
      );
      // The change has been read, and is asked about again and again.
      const gateway = cluster.gateways[0];
      await waitUntil(
        async () => {
          const text = await (await fetch(`http://127.0.0.1:${gateway?.port}/metrics`)).text();
          const asked = /question_seconds_count\{outcome="answered"\} (\d+)/u.exec(text)?.[1];
          return Number(asked) >= 6;
        },
        { what: "the questions" },
      );
      expect([idsOf(ann), idsOf(bob)]).toEqual([[], []]);
      await cluster.sql.query("ALTER SYSTEM RESET ALL");
      await cluster.sql.query("SELECT pg_reload_conf()");
      await committed;
      await insert(9, "all");
      await until(ann, [2, 9]);
      await until(bob, [1, 9]);
      expect([idsOf(ann), idsOf(bob)]).toEqual([
        [2, 9],
        [1, 9],
      ]);
    } finally {
      await cluster.sql.query("ALTER SYSTEM RESET ALL");
      await cluster.sql.query("SELECT pg_reload_conf()");
      await writer.end();
    }
  });
});

it("a policy that is slow for one user delays nobody else, live and catching up", async () => {
  await start();
  const from = { from: await placeOf(cluster) };
  await cluster.sql.query(`
    DROP POLICY own ON notes;
    CREATE POLICY own ON notes FOR SELECT TO race_user
      USING (owner = 'all' AND (me() <> 'slow' OR pg_sleep(1) IS NOT NULL))`);
  const [slow, fast] = [await subscribe("slow"), await subscribe("fast")];
  for (let id = 1; id <= 3; id++) {
    await insert(id, "all");
    await until(fast, [id], 900);
    await waitUntil(() => idsOf(fast).at(-1) === id, { what: `${id} at once`, timeoutMs: 900 });
  }
  expect(idsOf(slow)).not.toContain(3);
  await until(slow, [1, 2, 3]);
  const [slowAgain, fastAgain] = await Promise.all([subscribe("slow", from), subscribe("fast", from)]);
  await until(fastAgain, [1, 2, 3], 2_000);
  expect(idsOf(slowAgain)).toEqual([]);
  await until(slowAgain, [1, 2, 3]);
  await insert(4, "all");
  await until(slowAgain, [1, 2, 3, 4]);
  expect([slow, fast, slowAgain, fastAgain].map((socket) => idsOf(socket).slice(0, 3))).toEqual(
    Array.from({ length: 4 }, () => [1, 2, 3]),
  );
});

it("loses nothing and shows nothing forbidden when PostgreSQL is stopped in between", async () => {
  await start();
  const users = ["ann", "bob"];
  const [ann, bob] = await Promise.all([subscribe("ann"), subscribe("bob")]);
  if (ann === undefined || bob === undefined) throw new Error("two were opened");
  const expected: Record<string, number[]> = { ann: [], bob: [] };
  for (let round = 0; round < 3; round++) {
    const sql = new Client({ connectionString: cluster.database.url });
    sql.on("error", () => undefined);
    await sql.connect();
    for (let i = 0; i < 50; i++) {
      const [id, owner] = [round * 100 + i, users[i % 2] ?? ""];
      await sql.query("INSERT INTO notes VALUES ($1, $2)", [id, owner]);
      expected[owner]?.push(id);
    }
    await postgres.restart();
    await sql.end().catch(() => undefined);
    for (const service of [...cluster.ingesters, ...cluster.gateways]) await untilHealthy(service);
  }
  await until(ann, expected["ann"] ?? [], 30_000);
  await until(bob, expected["bob"] ?? [], 30_000);
  expect({ ann: idsOf(ann), bob: idsOf(bob) }).toEqual(expected);
}, 120_000);

it("loses nothing when there is one connection and no room to wait for it", async () => {
  await start({ DB_POOL_SIZE: "1", POLICY_QUEUE_LIMIT: "1" });
  const users = Array.from({ length: 12 }, (_, i) => `user ${i}`);
  const all = await Promise.all(users.map((user) => subscribe(user)));
  for (let id = 0; id < 60; id++) await insert(id, users[id % 12] ?? "");
  await insert(1_000, "all");
  for (const [i, socket] of all.entries()) {
    const its = [i, i + 12, i + 24, i + 36, i + 48, 1_000];
    await until(socket, its, 30_000);
    expect(idsOf(socket)).toEqual(its);
  }
}, 90_000);

it("judges by the new token what has not been decided, and never shows it by the old one", async () => {
  await start();
  await cluster.sql.query(`
    DROP POLICY own ON notes;
    CREATE POLICY own ON notes FOR SELECT TO race_user
      USING (owner = me() AND (me() <> 'ann' OR pg_sleep(0.3) IS NOT NULL))`);
  const ann = await subscribe("ann");
  for (let id = 1; id <= 4; id++) await insert(id, id % 2 === 0 ? "bob" : "ann");
  ann.send(["1", "2", "realtime:notes", "access_token", { access_token: await token("bob") }]);
  await insert(5, "ann");
  await insert(6, "bob");
  await waitUntil(() => idsOf(ann).at(-1) === 6, { what: "bob's last" });
  const ids = idsOf(ann);
  expect(ids).not.toContain(5);
  expect(ids).toEqual((ids as number[]).toSorted((a, b) => a - b));
  expect(ids.filter((id) => Number(id) % 2 === 0)).toEqual([2, 4, 6]);
});
