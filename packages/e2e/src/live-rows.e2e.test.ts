import { createRequire } from "node:module";
import { resumable } from "@walcast/client";
import { liveRows, type LiveRows, type LiveRowsClient, type LiveRowsOptions } from "@walcast/client/live-rows";
import { waitUntil } from "@walcast/testkit";
import { SignJWT } from "jose";
import { Client } from "pg";
import { afterEach, describe, expect, inject, it } from "vitest";
import { startCluster, untilHealthy, type Cluster } from "./cluster.ts";
import { createRole } from "./database-roles.ts";
import { openRaw } from "./raw-socket.ts";
import { openSnapshot, topic } from "./snapshot-client.ts";
import { clientVersions, type ClientVersion } from "./realtime-clients.ts";

const require = createRequire(import.meta.url);
const cleanups: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

const platformWebSocket = globalThis.WebSocket;
afterEach(() => void (globalThis.WebSocket = platformWebSocket));

const table = (identity: string): string => `
  CREATE TABLE rows (id int, room int NOT NULL, note text, owner text, code serial, PRIMARY KEY (id) INCLUDE (room));
  CREATE UNIQUE INDEX by_code ON rows (code);
  ALTER TABLE rows REPLICA IDENTITY ${identity};
  CREATE PUBLICATION supabase_realtime FOR ALL TABLES`;

async function start(schema: string, env: Record<string, string> = {}): Promise<Cluster> {
  const cluster = await startCluster({ postgresUrl: inject("postgresUrl"), natsUrl: inject("natsUrl"), schema, env });
  cleanups.push(() => cluster.stop());
  return cluster;
}

type AnyClientClass = new (
  url: string,
  options: object,
) => LiveRowsClient & { connect(): void; disconnect(): unknown; setAuth(token: string): unknown };

function connect(version: ClientVersion, cluster: Cluster, apikey = "any"): InstanceType<AnyClientClass> {
  const { RealtimeClient } = require(`realtime-js-${version}`) as { RealtimeClient: AnyClientClass };
  // Node 22's own WebSocket does not tell clients of a connection that was refused.
  const { transport } = resumable({ WebSocket: platformWebSocket });
  if (version === "2.10.0") globalThis.WebSocket = transport as typeof WebSocket; // it takes no other
  const options = version === "2.10.0" ? {} : { transport };
  const client = new RealtimeClient(cluster.url, { ...options, params: { apikey } });
  client.connect();
  cleanups.push(() => void client.disconnect());
  return client;
}

interface Kept extends LiveRows {
  /** Rows made of nothing but what was told. */
  readonly told: Map<string, unknown>;
  readonly errors: string[];
}

async function keep(client: LiveRowsClient, options: Partial<LiveRowsOptions> = {}): Promise<Kept> {
  const told = new Map<string, unknown>();
  const errors: string[] = [];
  const live = liveRows(client, {
    table: "rows",
    ...options,
    onError: (message) => errors.push(message),
    onChange(changes) {
      for (const change of changes) {
        if (change.type === "delete") told.delete(change.key);
        else told.set(change.key, change.row);
      }
    },
  });
  cleanups.push(() => live.close());
  await live.ready;
  return { ...live, told, errors };
}

const shown = (rows: ReadonlyMap<string, unknown>): string => {
  const all = [...rows.values()] as { id: number }[];
  return JSON.stringify(
    all.toSorted((a, b) => a.id - b.id).map((row) => Object.entries(row).toSorted(([a], [b]) => (a < b ? -1 : 1))),
  );
};

async function untilEqual(cluster: Cluster, kept: Kept, query: string): Promise<void> {
  const { rows } = await cluster.sql.query<{ id: number }>(query);
  const wanted = shown(new Map(rows.map((row) => [String(row.id), row])));
  await waitUntil(() => shown(kept.rows) === wanted && shown(kept.told) === wanted, {
    what: `${query} to be kept: ${wanted}, not ${shown(kept.rows)} (told ${shown(kept.told)}, ${kept.errors.join()})`,
    timeoutMs: 20_000,
  });
}

/** Everything that takes rows in and out. */
const story = [
  "INSERT INTO rows VALUES (10, 1, 'new', 'ann'), (11, 2, 'elsewhere', 'ann')",
  "UPDATE rows SET room = 2 WHERE id = 1",
  "UPDATE rows SET room = 1 WHERE id = 11",
  "UPDATE rows SET note = note || '!' WHERE id <= 3",
  "UPDATE rows SET id = 20 WHERE id = 2",
  "UPDATE rows SET id = 21, room = 2 WHERE id = 3",
  "DELETE FROM rows WHERE id = 4",
  "DELETE FROM rows WHERE id = 11",
  "BEGIN; UPDATE rows SET room = 2 WHERE id = 10; UPDATE rows SET room = 1, note = 'back' WHERE id = 10; COMMIT",
  "TRUNCATE rows",
  "INSERT INTO rows VALUES (1, 1, 'again', 'ann')",
];
const fill =
  "INSERT INTO rows SELECT i, i % 2 + (i / 6), 'note ' || i, CASE WHEN i % 3 = 0 THEN 'bob' ELSE 'ann' END FROM generate_series(1, 9) AS i";

/** Transactions of some statements each, a part of them rolled back. */
async function writeAtRandom(
  writer: Client,
  { seed, times }: { readonly seed: number; readonly times: number },
): Promise<void> {
  let state = seed + 1;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
  const statements = [
    () =>
      `INSERT INTO rows VALUES (${random(30)}, ${random(3)}, 'n${random(20)}', 'ann') ON CONFLICT (id) DO UPDATE SET room = excluded.room`,
    () => `UPDATE rows SET room = ${random(3)}, note = 'n${random(20)}' WHERE id = ${random(30)}`,
    () => `UPDATE rows SET owner = CASE owner WHEN 'ann' THEN 'bob' ELSE 'ann' END WHERE id = ${random(30)}`,
    () => `DELETE FROM rows WHERE id = ${random(30)}`,
    () =>
      `UPDATE rows SET id = id + 100 WHERE id = ${random(30)} AND NOT EXISTS (SELECT FROM rows AS r WHERE r.id = rows.id + 100)`,
  ];
  for (let i = 0; i < times; i++) {
    const some = Array.from({ length: 1 + random(3) }, () => statements[random(statements.length)]?.() ?? "");
    const end = random(6) === 0 ? "ROLLBACK" : "COMMIT";
    // Writers may wait for each other in a circle: one of them is refused, and that is no matter here.
    await writer.query(`BEGIN; ${some.join("; ")}; ${end}`).catch(() => writer.query("ROLLBACK"));
  }
}

const secret = "a-secret-of-at-least-32-characters!!";
const secure = { SECURE_CHANNELS: "true", JWT_SECRET: secret, ACCESS_POLL_MS: "100" };
const tokenOf = (sub: string): Promise<string> =>
  new SignJWT({ sub, role: "live_reader" })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(secret));
const secured = (identity: string): string => `${table(identity)};
  ${createRole("live_reader", "rows")}
  ALTER TABLE rows ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON rows TO live_reader USING (owner = current_setting('request.jwt.claims', true)::json ->> 'sub')`;

describe("live rows", () => {
  it.each(["DEFAULT", "FULL", "USING INDEX by_code"])(
    "are what a SELECT says, in every client, with REPLICA IDENTITY %s",
    async (identity) => {
      const cluster = await start(table(identity));
      await cluster.sql.query(fill);
      const clients = clientVersions.map((version) => connect(version, cluster));
      const rooms = await Promise.all(clients.map((client) => keep(client, { filter: "room=eq.1" })));
      const all = await Promise.all(clients.map((client) => keep(client)));
      const check = async (): Promise<void> => {
        for (const kept of rooms) await untilEqual(cluster, kept, "SELECT * FROM rows WHERE room = 1");
        for (const kept of all) await untilEqual(cluster, kept, "SELECT * FROM rows");
      };
      await check();
      for (const sql of story) {
        await cluster.sql.query(sql);
        await check();
      }
      expect([...rooms, ...all].flatMap(({ errors }) => errors)).toEqual([]);
    },
    120_000,
  );

  it.each(["DEFAULT", "FULL", "USING INDEX by_code"])(
    "are what a SELECT says after every quiet moment, with REPLICA IDENTITY %s",
    async (identity) => {
      const cluster = await start(table(identity));
      await cluster.sql.query(fill);
      const client = connect("2.119.0", cluster);
      const filters = ["room=eq.1", "room=in.(0,2)", "note=like.%1%", "or=(room.eq.2,owner.eq.bob)", "id=lt.15"];
      const where = ["room = 1", "room IN (0, 2)", "note LIKE '%1%'", "room = 2 OR owner = 'bob'", "id < 15"];
      const writers = await Promise.all(
        [0, 1, 2].map(async () => {
          const writer = new Client({ connectionString: cluster.database.url });
          await writer.connect();
          cleanups.push(() => writer.end());
          return writer;
        }),
      );
      for (let round = 0; round < 4; round++) {
        const writing = Promise.all(
          writers.map((writer, i) => writeAtRandom(writer, { seed: 10 * round + i, times: 60 })),
        );
        const kept = await Promise.all(filters.map((filter) => keep(client, { filter })));
        const [first] = kept;
        first?.refresh();
        await writing;
        for (const [i, one] of kept.entries())
          await untilEqual(cluster, one, `SELECT * FROM rows WHERE ${where[i] ?? ""}`);
        expect(kept.flatMap(({ errors }) => errors)).toEqual([]);
        for (const one of kept) one.close();
      }
    },
    120_000,
  );

  it("are those that the token may see: rows leave with the right to see them, and nobody else learns of it", async () => {
    const cluster = await start(secured("DEFAULT"), secure);
    await cluster.sql.query(fill);
    const users = await Promise.all(
      ["ann", "bob"].map(async (user) => {
        const client = connect("2.119.0", cluster, await tokenOf(user));
        return { user, all: await keep(client), room: await keep(client, { filter: "room=eq.1" }) };
      }),
    );
    const check = async (): Promise<void> => {
      for (const { user, all, room } of users) {
        await untilEqual(cluster, all, `SELECT * FROM rows WHERE owner = '${user}'`);
        await untilEqual(cluster, room, `SELECT * FROM rows WHERE owner = '${user}' AND room = 1`);
      }
    };
    await check();
    const more = [
      "UPDATE rows SET owner = 'bob' WHERE id = 1",
      "UPDATE rows SET owner = 'nobody' WHERE id = 7",
      "UPDATE rows SET owner = 'ann' WHERE id = 3",
      "UPDATE rows SET owner = 'bob', room = 2 WHERE id = 5",
    ];
    const witness = await openSnapshot(cluster.url, {
      token: await tokenOf("ann"),
      config: { snapshot: { collection: true } },
    });
    cleanups.push(() => witness.socket.end());
    await witness.live();
    const before = witness.socket.frames.length;
    await cluster.sql.query("UPDATE rows SET note = 'hush' WHERE id = 9");
    await check();
    await waitUntil(() => witness.socket.frames.length > before, { what: "word of a row that cannot be seen" });
    const about = { bindings: [expect.any(Number)], schema: "public", table: "rows" };
    expect(witness.socket.frames.slice(before)).toEqual([
      [
        null,
        null,
        topic,
        "row_left",
        { ...about, row: expect.any(String) as string, position: expect.any(String) as string },
      ],
    ]);
    for (const sql of [...more, ...story]) {
      await cluster.sql.query(sql);
      await check();
    }
  }, 120_000);

  it.each(["DEFAULT", "FULL"])(
    "of others: no filter tells what is in them, with REPLICA IDENTITY %s",
    async (identity) => {
      const cluster = await start(secured(identity), secure);
      await cluster.sql.query(`${fill}; ALTER TABLE rows ALTER note SET STORAGE EXTERNAL`);
      const filters = ["note=eq.one", "note=eq.two", "id=gt.0", "note=like.long%"];
      const witness = await openRaw(cluster.url, { vsn: "2.0.0", apikey: await tokenOf("ann") });
      cleanups.push(() => witness.end());
      const bindings = [undefined, ...filters].map((filter) => ({
        event: "*",
        schema: "public",
        table: "rows",
        ...(filter === undefined ? {} : { filter }),
      }));
      const config = { postgres_changes: bindings, snapshot: { collection: true } };
      witness.send(["1", "1", topic, "phx_join", { config }]);
      await witness.next((frame) => JSON.stringify(frame).includes("Resumed"), "the changes");
      const told: unknown[] = [];
      for (const note of ["one", "two", "none", `long${"-".repeat(5_000)}`, undefined]) {
        const before = witness.frames.length;
        const set = note === undefined ? "room = 3" : `note = '${note}'`;
        await cluster.sql.query(`UPDATE rows SET ${set} WHERE id = 9`); // bob's
        await cluster.sql.query("INSERT INTO rows VALUES ($1, 0, '', 'ann')", [100 + told.length]);
        const isMark = (frame: unknown): boolean =>
          witness.frames.indexOf(frame) >= before && JSON.stringify(frame).includes("INSERT");
        await witness.next(isMark, "the mark behind it");
        const came = witness.frames.slice(before, witness.frames.findIndex(isMark));
        const left = came.filter((frame) => (frame as unknown[])[3] === "row_left");
        told.push(left.map((frame) => ({ ...((frame as unknown[])[4] as object), position: "" })));
      }
      expect(told[0]).toEqual([{ ...(told[0] as object[])[0], bindings: Array(5).fill(expect.any(Number)) }]);
      expect(told.map((one) => JSON.stringify(one))).toEqual(told.map(() => JSON.stringify(told[0])));
    },
    60_000,
  );

  it("are the first so many, whatever comes and goes", async () => {
    const cluster = await start(table("DEFAULT"));
    await cluster.sql.query(fill);
    for (const version of ["1.3.3", "1.7.5", "2.0.0", "2.119.0"] as const) {
      const top = await keep(connect(version, cluster), { limit: 3, order: "id.desc" });
      const query = "SELECT * FROM rows ORDER BY id DESC LIMIT 3";
      await untilEqual(cluster, top, query);
      for (const sql of [
        "DELETE FROM rows WHERE id = 8",
        "INSERT INTO rows VALUES (30, 1, 'x', 'y')",
        "DELETE FROM rows WHERE id = 30",
      ]) {
        await cluster.sql.query(sql);
        await untilEqual(cluster, top, query);
      }
      await cluster.sql.query("INSERT INTO rows VALUES (8, 1, 'x', 'y')");
      expect(top.errors).toEqual([]);
    }
  }, 120_000);

  it("tell the difference after a gateway was away, and never that all rows are gone", async () => {
    const cluster = await start(table("DEFAULT"));
    await cluster.sql.query(fill);
    const [gateway] = cluster.gateways;
    const sizes: number[] = [];
    const kept = await Promise.all(
      clientVersions.map(async (version) => {
        const one = await keep(connect(version, cluster), { filter: "room=lt.9" });
        return one;
      }),
    );
    const watching = setInterval(() => sizes.push(...kept.map(({ rows }) => rows.size)), 1);
    cleanups.push(() => clearInterval(watching));
    await gateway?.process.kill9();
    await cluster.sql.query("UPDATE rows SET room = 9 WHERE id IN (1, 2)");
    await cluster.sql.query("DELETE FROM rows WHERE id = 3");
    await cluster.sql.query("UPDATE rows SET note = 'missed' WHERE id = 4");
    await untilHealthy(await cluster.addGateway({ PORT: String(gateway?.port) }));
    for (const one of kept) await untilEqual(cluster, one, "SELECT * FROM rows WHERE room < 9");
    await cluster.sql.query("UPDATE rows SET room = 9 WHERE id = 5");
    for (const one of kept) await untilEqual(cluster, one, "SELECT * FROM rows WHERE room < 9");
    expect(Math.min(...sizes)).toBeGreaterThanOrEqual(5);
  }, 120_000);

  it("let rows go whose key is another one than it was for those who came before", async () => {
    const cluster = await start(table("FULL"));
    await cluster.sql.query(`${fill}; ALTER TABLE rows ALTER note SET NOT NULL`);
    const url = { config: { snapshot: { collection: true } }, binding: { filter: "room=lt.9" } };
    const former = await openSnapshot(cluster.url, url);
    cleanups.push(() => former.socket.end());
    await former.live();
    await cluster.sql.query("ALTER TABLE rows DROP CONSTRAINT rows_pkey, ADD PRIMARY KEY (note)");
    await new Promise((resolve) => setTimeout(resolve, 2_500)); // what is known of a table is kept for two seconds
    const later = await openSnapshot(cluster.url, url);
    cleanups.push(() => later.socket.end());
    await later.live();
    await cluster.sql.query("UPDATE rows SET room = 9 WHERE id = 5");
    for (const { socket, pages } of [former, later]) {
      const left = (await socket.next(
        (frame) => (frame as unknown[])[3] === "row_left",
        "word of the row",
      )) as unknown[];
      const rows = pages.flatMap((page) => page.rows);
      const tags = pages.flatMap((page) => (page as unknown as { tags: string[] }).tags);
      expect(rows[tags.indexOf((left[4] as { row: string }).row)]).toMatchObject({ id: 5 });
    }
  });

  it("keep a row whose filter looks at a large value that did not change", async () => {
    const cluster = await start(`${table("DEFAULT")}; ALTER TABLE rows ALTER note SET STORAGE EXTERNAL`);
    await cluster.sql.query(
      "INSERT INTO rows SELECT i, 1, 'x' || i || repeat('-', 5000), 'ann' FROM generate_series(1, 3) AS i",
    );
    const client = connect("2.119.0", cluster);
    const some = await keep(client, { filter: "note=like.x1%,room=lt.3" });
    const all = await keep(client);
    for (const room of [2, 3, 1]) {
      await cluster.sql.query("UPDATE rows SET room = $1", [room]);
      await untilEqual(cluster, some, "SELECT * FROM rows WHERE note LIKE 'x1%' AND room < 3");
      await untilEqual(cluster, all, "SELECT * FROM rows");
    }
    expect([...some.errors, ...all.errors]).toEqual([]);
  });

  it("say what the server refuses", async () => {
    const cluster = await start(table("DEFAULT"), { SNAPSHOT_MAX_ROWS: "5" });
    await cluster.sql.query(fill);
    const errors: string[] = [];
    const live = liveRows(connect("2.119.0", cluster), { table: "rows", onError: (message) => errors.push(message) });
    cleanups.push(() => live.close());
    await waitUntil(() => errors.length > 0, { what: "the refusal" });
    expect(errors[0]).toMatch(/^SnapshotRefused: public\.rows has more than 5 rows/);
  });
});
