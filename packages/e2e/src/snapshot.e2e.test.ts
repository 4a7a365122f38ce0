import { startPostgres, waitUntil, type ServerProcess } from "@walcast/testkit";
import { SignJWT } from "jose";
import { Client } from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from "vitest";
import { startCluster, type Cluster } from "./cluster.ts";
import { createRole } from "./database-roles.ts";
import { openRaw } from "./raw-socket.ts";
import { openSnapshot, topic, type SnapshotClient, type SnapshotWish } from "./snapshot-client.ts";

const cleanups: (() => Promise<unknown> | void)[] = [];
let postgres: ServerProcess;
beforeAll(async () => {
  postgres = await startPostgres({ postgresFlags: ["-c", "max_prepared_transactions=50"] });
});
afterAll(() => postgres.stop());
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

const table = `CREATE PUBLICATION supabase_realtime FOR ALL TABLES;
  CREATE TABLE rows (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, note text, amount numeric, at timestamptz, doc jsonb)`;

async function start(env: Record<string, string> = {}, schema = table): Promise<Cluster> {
  const cluster = await startCluster({ postgresUrl: postgres.url, natsUrl: inject("natsUrl"), env, schema });
  cleanups.push(() => cluster.stop());
  return cluster;
}

async function connect(cluster: Cluster): Promise<Client> {
  const client = new Client({ connectionString: cluster.database.url });
  client.on("error", () => undefined);
  await client.connect();
  cleanups.push(() => client.end());
  return client;
}

async function open(cluster: Cluster, wish?: SnapshotWish): Promise<SnapshotClient> {
  const client = await openSnapshot(cluster.url, wish);
  cleanups.push(() => client.socket.end());
  return client;
}

const insert = (cluster: Cluster, from: number, to: number): Promise<unknown> =>
  cluster.sql.query(
    `INSERT INTO rows SELECT i, 0, 'note ' || i, i / 4.0, 'epoch'::timestamptz + i * interval '1 day', jsonb_build_object('i', i)
       FROM generate_series($1::int, $2::int) AS i`,
    [from, to],
  );
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const idsOf = (client: SnapshotClient): number[] => [...client.rows.keys()].toSorted((a, b) => a - b);
const countsOf = (client: SnapshotClient): string =>
  JSON.stringify([...client.rows.values()].map(({ id, n }) => [id, n]).toSorted(([a], [b]) => Number(a) - Number(b)));

async function untilEqual(cluster: Cluster, client: SnapshotClient): Promise<void> {
  const { rows } = await cluster.sql.query<{ id: number; n: number }>("SELECT id, n FROM rows ORDER BY id");
  const wanted = JSON.stringify(rows.map(({ id, n }) => [id, n]));
  await waitUntil(() => countsOf(client) === wanted, { what: `${wanted}, not ${countsOf(client)}`, timeoutMs: 30_000 });
}

describe("a join with a snapshot", () => {
  it("gets the rows in pages, in the form of changes, and then the changes", async () => {
    const cluster = await start();
    await insert(cluster, 1, 130);
    const client = await open(cluster, { config: { snapshot: { page_size: 50 } } });
    await client.live();
    expect(client.pages.map(({ rows, done }) => [rows.length, done])).toEqual([
      [50, false],
      [50, false],
      [30, true],
    ]);
    expect(idsOf(client)).toEqual(range(1, 130));
    expect(client.system.map(({ extension, status }) => `${extension} ${status}`)).toEqual([
      "snapshot ok",
      "postgres_changes ok",
      "resume ok",
    ]);
    await cluster.sql.query("UPDATE rows SET n = n + 1 WHERE id = 7");
    await waitUntil(() => client.changes.length === 1, { what: "the change" });
    const [change] = client.changes;
    expect(change?.record).toEqual({ ...client.pages[0]?.rows.find(({ id }) => id === 7), n: 1 });
    expect(client.pages[0]).toMatchObject({ schema: "public", table: "rows", key: ["id"] });
    expect(client.pages[0]?.columns).toEqual((change as unknown as { columns: unknown }).columns);
    await cluster.sql.query("TRUNCATE rows");
    await waitUntil(() => client.rows.size === 0, { what: "the table to be empty" });
    expect(client.misfits).toEqual([]);
  });

  it("gets one page without rows of an empty table, on a database that has never changed", async () => {
    const cluster = await start();
    const client = await open(cluster);
    await client.live();
    expect(client.pages).toMatchObject([{ rows: [], done: true }]);
    await insert(cluster, 1, 1);
    await waitUntil(() => client.rows.size === 1, { what: "the first row" });
  });

  it("gets as many as it wants, in the order it wants, of those that its filter matches", async () => {
    const cluster = await start();
    await insert(cluster, 1, 200);
    const rowsOf = async (filter: string | undefined, snapshot: object): Promise<unknown[]> => {
      const client = await open(cluster, { binding: filter === undefined ? {} : { filter }, config: { snapshot } });
      await client.live();
      return client.pages.flatMap(({ rows }) => rows.map(({ id }) => id));
    };
    expect(await rowsOf(undefined, { limit: 3, order: "id.desc" })).toEqual([200, 199, 198]);
    expect(await rowsOf("note=like.note 1%", { limit: 4, order: "id" })).toEqual([1, 10, 11, 12]);
    expect(await rowsOf("amount=gt.49,or=(id.lt.199,id.gte.200)", { order: "id" })).toEqual([197, 198, 200]);
    expect(await rowsOf("doc->>i=in.(5,6)", {})).toEqual([5, 6]);
    await cluster.sql.query(`CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); ALTER TABLE rows ADD COLUMN mood mood;
      UPDATE rows SET mood = (enum_range(NULL::mood))[id] WHERE id < 4`);
    expect(await rowsOf("mood=lt.happy", {})).toEqual([1, 2]);
    const cut = await open(cluster, { binding: { filter: "note=eq.note 9", select: ["n"] } });
    await cut.live();
    expect(cut.pages.flatMap(({ rows }) => rows)).toEqual([{ id: 9, n: 0 }]);
  });

  it("may name a column that was added a moment ago", async () => {
    const cluster = await start();
    await insert(cluster, 1, 3);
    const [plain, filtered] = [await open(cluster), await open(cluster, { binding: { filter: "id=gt.1" } })];
    await Promise.all([plain.live(), filtered.live()]);
    await cluster.sql.query("ALTER TABLE rows ADD COLUMN late int DEFAULT 5");
    const selecting = await open(cluster, { binding: { select: ["late"] } });
    const filtering = await open(cluster, { binding: { filter: "late=eq.5" } });
    await Promise.all([selecting.live(), filtering.live()]);
    expect(selecting.pages.flatMap(({ rows }) => rows)).toEqual([1, 2, 3].map((id) => ({ id, late: 5 })));
    expect(idsOf(filtering)).toEqual([1, 2, 3]);
    await cluster.sql.query("INSERT INTO rows (id, late) VALUES (5, 6), (6, 5)");
    await waitUntil(() => idsOf(filtering).includes(6), { what: "the change of the new column" });
    expect(idsOf(filtering)).not.toContain(5);
    const wrong = await open(cluster, { binding: { filter: "never=eq.5" } });
    await waitUntil(() => wrong.system.length > 0, { what: "the refusal" });
    expect(wrong.system[0]?.message).toContain("invalid column for filter never");
  });

  it.each<[string, SnapshotWish, RegExp]>([
    ["a limit above the setting", { config: { snapshot: { limit: 101 } } }, /limit 101 is above SNAPSHOT_MAX_ROWS/],
    ["more rows than the setting", {}, /public\.rows has more than 100 rows; ask for fewer/],
    ["more rows that pass the filter", { binding: { filter: "note=like.note%" } }, /has more than 100 rows/],
    ["an order by no column", { config: { snapshot: { order: "nothing" } } }, /order by "nothing"/],
    ["a pattern of names", { binding: { table: "*" } }, /name one schema and table/],
  ])("is told of %s, and gets nothing", async (_, wish, reason) => {
    const cluster = await start({ SNAPSHOT_MAX_ROWS: "100" });
    await insert(cluster, 1, 101);
    const client = await open(cluster, wish);
    await waitUntil(() => client.system.length > 0, { what: "the refusal" });
    expect(client.system).toMatchObject([{ extension: "snapshot", status: "error" }]);
    expect(client.system[0]?.message).toMatch(/^SnapshotRefused: /);
    expect(client.system[0]?.message).toMatch(reason);
  });

  it("that is none is refused at once", async () => {
    const cluster = await start();
    const client = await open(cluster, { config: { snapshot: { limit: -1 } } });
    await waitUntil(() => client.socket.frames.length > 0, { what: "the answer" });
    expect(JSON.stringify(client.socket.frames[0])).toContain("InvalidSnapshot: -1 cannot be a snapshot");
  });
});

describe("rows and changes together", () => {
  it("are exact under transactions of every kind, whenever it is joined", async () => {
    const cluster = await start();
    await insert(cluster, 1, 20);
    const stop = new AbortController();
    const writers = await Promise.all(writerKinds.map(async (kind) => [kind, await connect(cluster)] as const));
    const writing = Promise.all(
      writers.map(([kind, client], i) => write(client, { kind, first: 1_000 * (i + 1), stop })),
    );
    const clients: SnapshotClient[] = [];
    for (let round = 0; round < 12; round++) {
      const opened = await Promise.all([open(cluster, { config: { snapshot: { page_size: 7 } } }), open(cluster)]);
      clients.push(...opened);
      await Promise.all(opened.map((client) => client.live()));
    }
    stop.abort();
    await writing;
    for (const client of clients) {
      await untilEqual(cluster, client);
      expect(client.misfits).toEqual([]);
    }
    const changed = clients.map(({ changes }) => changes.length);
    expect(Math.min(...changed.slice(0, 4))).toBeGreaterThan(0);
  }, 120_000);

  it("are exact where a commit is in the log long before anybody sees it", async () => {
    const cluster = await start();
    await insert(cluster, 1, 3);
    const release = async (): Promise<void> => {
      await cluster.sql.query("ALTER SYSTEM RESET synchronous_standby_names");
      await cluster.sql.query("SELECT pg_reload_conf()");
    };
    cleanups.push(release);
    await cluster.sql.query("SET synchronous_commit = local");
    await cluster.sql.query("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    await cluster.sql.query("SELECT pg_reload_conf()");
    const waiting = await connect(cluster);
    const witness = await open(cluster);
    await witness.live();
    const committing = waiting.query("INSERT INTO rows (id) VALUES (4)");
    await waitUntil(() => idsOf(witness).includes(4), { what: "the change that nobody sees in the table" });
    for (let id = 5; id < 8; id++) await insert(cluster, id, id);
    const client = await open(cluster, { config: { snapshot: { order: "id" } } });
    await client.live();
    expect(client.pages.flatMap(({ rows }) => rows.map(({ id }) => id))).toEqual([1, 2, 3, 5, 6, 7]);
    await waitUntil(() => idsOf(client).length === 7, { what: "the change that was in the log before" });
    expect(client.changes.map(({ record }) => record?.["id"])).toEqual([4]);
    await release();
    await committing;
    await untilEqual(cluster, client);
    expect([client.misfits, witness.misfits]).toEqual([[], []]);
  });

  it("begin anew when the connection that reads them is cut", async () => {
    const cluster = await start();
    await cluster.sql.query(
      "INSERT INTO rows (id, note) SELECT i, repeat(md5(i::text), 300) FROM generate_series(1, 20000) AS i",
    );
    const client = await open(cluster);
    await waitUntil(() => client.pages.length > 3, { what: "the first pages" });
    await cluster.sql.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'walcast snapshots' AND datname = current_database()",
    );
    await insert(cluster, 30_000, 30_010);
    await client.live();
    await waitUntil(() => client.rows.size === 20_011, { what: "all rows", timeoutMs: 30_000 });
    expect(client.misfits).toEqual([]);
    expect(client.system[0]?.message).toMatch(/^SnapshotInterrupted: /);
    expect(client.pages.filter(({ restart }) => restart)).toHaveLength(1);
  }, 90_000);
});

const secret = "a-secret-of-at-least-32-characters!!";
const token = (sub: string): Promise<string> =>
  new SignJWT({ sub, role: "rows_reader" })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(secret));
const secured = `${table};
  ALTER TABLE rows ADD COLUMN owner text, ADD COLUMN secret text DEFAULT 'x';
  CREATE TABLE hidden (id int PRIMARY KEY);
  ${createRole("rows_reader", "pg_class")}
  GRANT SELECT (id, n, owner) ON rows TO rows_reader;
  ALTER TABLE rows ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON rows TO rows_reader USING (owner = current_setting('request.jwt.claims', true)::json ->> 'sub')`;
const secure = { SECURE_CHANNELS: "true", JWT_SECRET: secret, ACCESS_POLL_MS: "100" };

describe("who may see what", () => {
  it("decides about the rows as about changes: policies, columns, and other tokens", async () => {
    const cluster = await start(secure, secured);
    await cluster.sql.query(
      "INSERT INTO rows (id, owner) SELECT i, CASE WHEN i % 2 = 0 THEN 'ann' ELSE 'bob' END FROM generate_series(1, 10) AS i",
    );
    const client = await open(cluster, { token: await token("ann") });
    await client.live();
    const ann = [2, 4, 6, 8, 10];
    expect(client.pages.flatMap(({ rows }) => rows)).toEqual(ann.map((id) => ({ id, n: 0, owner: "ann" })));
    await cluster.sql.query("UPDATE rows SET n = n + 1");
    await waitUntil(() => client.changes.length === 5, { what: "the changes of the own rows" });
    client.socket.send(["1", "2", topic, "access_token", { access_token: await token("bob") }]);
    await waitUntil(() => client.pages.some(({ restart }) => restart), { what: "the rows of the other token" });
    await waitUntil(() => JSON.stringify(idsOf(client)) === "[1,3,5,7,9]", { what: "bob's rows" });
    await cluster.sql.query("UPDATE rows SET n = n + 1");
    await waitUntil(() => client.changes.length === 10, { what: "bob's changes" });
    expect(client.misfits).toEqual([]);
  });

  it("refuses rows of a table, and an order by a column, that may not be read", async () => {
    const cluster = await start(secure, secured);
    const apikey = await token("ann");
    const hidden = await open(cluster, { token: apikey, binding: { table: "hidden" } });
    const sorted = await open(cluster, { token: apikey, config: { snapshot: { order: "secret" } } });
    await waitUntil(() => hidden.system.length > 0 && sorted.system.length > 0, { what: "the refusals" });
    expect(hidden.system[0]?.message).toBe("SnapshotRefused: public.hidden: Error 401: Unauthorized");
    expect(sorted.system[0]?.message).toMatch(
      /^SnapshotRefused: order by "secret", which is no column that may be read/,
    );
  });
});

const rare: SnapshotWish = { binding: { filter: "note=match.never" }, config: { snapshot: { page_size: 1000 } } };
describe("clients that keep a connection of the database busy", () => {
  const busy = "SELECT FROM pg_stat_activity WHERE application_name = 'walcast snapshots' AND xact_start IS NOT NULL";
  const idle = async (cluster: Cluster): Promise<unknown> =>
    waitUntil(async () => (await cluster.sql.query(`${busy} AND datname = current_database()`)).rows.length === 0, {
      what: "the connection to be free",
      timeoutMs: 20_000,
    });

  it("lose it when they do not read", async () => {
    const cluster = await start({ SNAPSHOT_CONNECTIONS: "1", SNAPSHOT_TIMEOUT_MS: "3000" });
    await cluster.sql.query(
      "INSERT INTO rows (id, note) SELECT i, repeat(md5(i::text), 60) FROM generate_series(1, 40000) AS i",
    );
    const deaf = await open(cluster);
    await waitUntil(() => deaf.pages.length > 0, { what: "its first page" });
    deaf.socket.pause();
    await idle(cluster);
    const other = await open(cluster, { config: { snapshot: { limit: 10, order: "id" } } });
    await waitUntil(() => other.pages.length > 0, { what: "the rows of somebody else" });
    deaf.socket.resume();
    await waitUntil(() => deaf.system.length > 0, { what: "why it did not get the rest" });
    expect(deaf.system[0]?.message).toMatch(/^SnapshotRefused: it took longer than SNAPSHOT_TIMEOUT_MS/);
  }, 90_000);

  it("lose it when they leave or time is up while no row passes their filter", async () => {
    const cluster = await start({ SNAPSHOT_CONNECTIONS: "1", SNAPSHOT_TIMEOUT_MS: "1000" });
    await cluster.sql.query("INSERT INTO rows (id, note) SELECT i, 'n' FROM generate_series(1, 800000) AS i");
    const [first, second] = [await open(cluster, rare), await open(cluster, rare)];
    await waitUntil(async () => (await cluster.sql.query(busy)).rows.length > 0, { what: "the first to be read for" });
    first.socket.end();
    await waitUntil(() => second.system.length > 0, { what: "the refusal", timeoutMs: 30_000 });
    expect(second.system[0]?.message).toMatch(/^SnapshotRefused: it took longer than SNAPSHOT_TIMEOUT_MS/);
    await idle(cluster);
  }, 90_000);
});

describe("coming back", () => {
  it("with a position goes on there, and begins with the rows when it is gone", async () => {
    const cluster = await start();
    await insert(cluster, 1, 5);
    const client = await open(cluster);
    await client.live();
    await insert(cluster, 6, 6);
    await waitUntil(() => client.changes.length === 1, { what: "a change" });
    const from = client.changes[0]?.position;
    await insert(cluster, 7, 8);
    const resumed = await open(cluster, { config: { resume: { from } } });
    await waitUntil(() => resumed.changes.length === 2, { what: "what it missed" });
    expect([resumed.pages, idsOf(resumed)]).toEqual([[], [7, 8]]);
    const lost = await open(cluster, { config: { resume: { from: "1.0/8.0" } } });
    await waitUntil(() => lost.system.some(({ extension }) => extension === "snapshot"), {
      what: "the rows in place of changes that are gone",
      timeoutMs: 30_000,
    });
    await waitUntil(() => idsOf(lost).length === 8, { what: "all rows" });
    expect(lost.misfits).toEqual([]);
  });

  it("is told in a legacy channel, too", async () => {
    const cluster = await start();
    await insert(cluster, 1, 3);
    const socket = await openRaw(cluster.url, { vsn: "1.0.0" });
    cleanups.push(() => socket.end());
    const event = (name: string) => (frame: unknown) => (frame as { event: string }).event === name;
    socket.send({
      topic: "realtime:public:rows:id=gt.1",
      event: "phx_join",
      payload: { snapshot: { order: "id" } },
      ref: "1",
    });
    const page = (await socket.next(event("snapshot"), "the rows")) as {
      payload: { rows: { id: number }[]; columns: object[] };
    };
    expect(page.payload.rows.map(({ id }) => id)).toEqual([2, 3]);
    expect(page.payload.columns[0]).toEqual({ flags: ["key"], name: "id", type: "int4", type_modifier: 4_294_967_295 });
    await socket.next((frame) => JSON.stringify(frame).includes("Resumed"), "the changes after them");
    await insert(cluster, 4, 4);
    await socket.next(event("INSERT"), "the change");
    await cluster.sql.query("TRUNCATE rows");
    await socket.next(event("TRUNCATE"), "the truncate, whatever the filter");
  });
});

const writerKinds = ["plain", "long", "savepoints", "prepared", "async"] as const;
type WriterKind = (typeof writerKinds)[number];

/** Inserts, counts up, and deletes rows of its own and some that all share, until told to stop. */
async function write(
  client: Client,
  { kind, first, stop }: { readonly kind: WriterKind; readonly first: number; readonly stop: AbortController },
): Promise<void> {
  if (kind === "async") await client.query("SET synchronous_commit = off");
  const pause = (ms: number): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, ms));
  for (let i = 0; !stop.signal.aborted; i++) {
    const own = first + (i % 10);
    const steps = [
      `INSERT INTO rows (id) VALUES (${own}) ON CONFLICT (id) DO UPDATE SET n = rows.n + 1`,
      `UPDATE rows SET n = n + 1 WHERE id = ${(first / 1_000) * 3 + (i % 3)}`,
      ...(i % 4 === 3 ? [`DELETE FROM rows WHERE id = ${first + ((i + 5) % 10)}`] : []),
    ];
    if (kind === "plain" || kind === "async") {
      for (const step of steps) await client.query(step);
      await pause(3);
      continue;
    }
    await client.query("BEGIN");
    for (const [at, step] of steps.entries()) {
      if (kind === "savepoints") await client.query(`SAVEPOINT s${at}`);
      await client.query(step);
      if (kind === "savepoints" && i % 3 === 0 && at === 1) await client.query(`ROLLBACK TO s${at}`);
      if (kind === "long") await pause(40);
    }
    if (kind === "prepared") {
      await client.query(`PREPARE TRANSACTION 'p${first}_${i}'`);
      await pause(25);
      await client.query(`COMMIT PREPARED 'p${first}_${i}'`);
    } else await client.query(i % 7 === 6 ? "ROLLBACK" : "COMMIT");
  }
}
