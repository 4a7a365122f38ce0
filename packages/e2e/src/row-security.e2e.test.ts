import { waitUntil } from "@walcast/testkit";
import { SignJWT } from "jose";
import { afterEach, beforeEach, describe, expect, inject, it } from "vitest";
import { placeOf, startCluster, untilHealthy, type Cluster } from "./cluster.ts";
import { openRaw, type RawSocket } from "./raw-socket.ts";

const secret = "a-secret-of-at-least-32-characters!!";
const cleanups: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

const token = (sub: string, role = "rls_user", more: object = {}): Promise<string> =>
  new SignJWT({ sub, role, ...more })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(secret));

const schema = `
  CREATE TABLE notes (id int PRIMARY KEY, owner text NOT NULL, body text, secret text);
  CREATE TABLE open_notes (id int PRIMARY KEY, body text, secret text);
  CREATE TABLE keyless (body text);
  DO $$ BEGIN CREATE ROLE rls_user NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
  DO $$ BEGIN CREATE ROLE rls_admin NOLOGIN BYPASSRLS; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
  GRANT USAGE ON SCHEMA public TO rls_user, rls_admin;
  GRANT SELECT ON ALL TABLES IN SCHEMA public TO rls_admin;
  GRANT SELECT (id, owner, body) ON notes TO rls_user;
  GRANT SELECT (id, body) ON open_notes TO rls_user;
  GRANT SELECT ON keyless TO rls_user;
  ALTER TABLE notes REPLICA IDENTITY FULL, ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON notes FOR SELECT TO rls_user
    USING (owner = current_setting('request.jwt.claims', true)::json ->> 'sub');
  CREATE PUBLICATION supabase_realtime FOR ALL TABLES`;

type Frame = readonly [unknown, unknown, string, string, Record<string, unknown>];
interface Data {
  readonly type: string;
  readonly table: string;
  readonly columns: readonly { readonly name: string }[];
  readonly record?: Readonly<Record<string, unknown>>;
  readonly old_record?: Readonly<Record<string, unknown>>;
  readonly errors: readonly string[] | null;
}

const changesOf = ({ frames }: RawSocket): Data[] =>
  (frames as Frame[]).filter(([, , , event]) => event === "postgres_changes").map((frame) => frame[4]["data"] as Data);

describe("row level security", () => {
  let cluster: Cluster;
  beforeEach(async () => {
    cluster = await startCluster({
      postgresUrl: inject("postgresUrl"),
      natsUrl: inject("natsUrl"),
      schema,
      env: { SECURE_CHANNELS: "true", JWT_SECRET: secret, ACCESS_POLL_MS: "100" },
    });
    cleanups.push(() => cluster.stop());
  });

  async function subscribe(
    sub: string,
    table: string,
    more: { role?: string; filter?: string } = {},
  ): Promise<RawSocket> {
    const socket = await openRaw(cluster.url, { vsn: "2.0.0", apikey: await token(sub, more.role) });
    cleanups.push(() => socket.end());
    const binding = {
      event: "*",
      schema: "public",
      table,
      ...(more.filter === undefined ? {} : { filter: more.filter }),
    };
    socket.send(["1", "1", "realtime:notes", "phx_join", { config: { postgres_changes: [binding] } }]);
    await socket.next((frame) => (frame as Frame)[3] === "system", "the end of subscribing");
    return socket;
  }
  const until = (socket: RawSocket, count: number): Promise<unknown> =>
    waitUntil(() => changesOf(socket).length >= count, { what: `${count} changes: ${JSON.stringify(socket.frames)}` });
  /** A row that everybody sees ends what came before it. */
  const insert = (id: number, owner: string): Promise<unknown> =>
    cluster.sql.query("INSERT INTO notes VALUES ($1, $2, 'body', 'secret')", [id, owner]);

  it("shows each user their rows and columns, everything to who bypasses it, and nobody else's", async () => {
    const [ann, bob, admin] = [
      await subscribe("ann", "notes"),
      await subscribe("bob", "notes"),
      await subscribe("root", "notes", { role: "rls_admin" }),
    ];
    for (let id = 1; id <= 20; id++) await insert(id, id % 2 === 0 ? "ann" : "bob");
    await cluster.sql.query("UPDATE notes SET body = 'new' WHERE id = 2");
    await until(admin, 21);
    await until(ann, 11);
    await until(bob, 10);
    expect(changesOf(ann).map(({ record }) => record?.["id"])).toEqual([2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 2]);
    expect(changesOf(bob).map(({ record }) => record?.["id"])).toEqual([1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
    expect(changesOf(ann)[0]).toMatchObject({
      columns: [{ name: "id" }, { name: "owner" }, { name: "body" }],
      record: { id: 2, owner: "ann", body: "body" },
      errors: null,
    });
    expect(JSON.stringify([ann.frames, bob.frames])).not.toContain("secret");
    expect(changesOf(ann).at(-1)?.old_record).toEqual({ id: 2, owner: "ann", body: "body" });
    expect(changesOf(admin)[0]?.record).toEqual({ id: 1, owner: "bob", body: "body", secret: "secret" });
  });

  it("tells everybody the key of a deleted row, and no more", async () => {
    const [ann, admin] = [await subscribe("ann", "notes"), await subscribe("root", "notes", { role: "rls_admin" })];
    await insert(1, "bob");
    await cluster.sql.query("DELETE FROM notes");
    await until(ann, 1);
    await until(admin, 2);
    for (const socket of [ann, admin]) {
      expect(changesOf(socket).at(-1)).toMatchObject({ type: "DELETE", old_record: { id: 1 } });
      expect(Object.keys(changesOf(socket).at(-1)?.old_record ?? {})).toEqual(["id"]);
    }
  });

  it("cuts columns of tables without it, and refuses tables without a primary key", async () => {
    const [open, keyless] = [await subscribe("ann", "open_notes"), await subscribe("ann", "keyless")];
    const filtered = await subscribe("ann", "keyless", { filter: "body=eq.another" });
    await cluster.sql.query("INSERT INTO open_notes VALUES (1, 'body', 'secret'); INSERT INTO keyless VALUES ('body')");
    await until(open, 1);
    await until(keyless, 1);
    expect(changesOf(open)[0]).toMatchObject({ record: { id: 1, body: "body" }, errors: null });
    expect(changesOf(open)[0]?.record).not.toHaveProperty("secret");
    expect(changesOf(keyless)[0]).toMatchObject({
      columns: [],
      record: {},
      errors: ["Error 400: Bad Request, no primary key"],
    });
    await until(filtered, 1); // by its coming it would tell whether the row matches
    expect(changesOf(filtered)).toEqual(changesOf(keyless));
  });

  it("refuses roles that PostgreSQL does not know, and filters on what may not be read", async () => {
    const stranger = await subscribe("ann", "notes", { role: "nobody_at_all" });
    expect(JSON.stringify(stranger.frames)).toContain('role \\"nobody_at_all\\" does not exist');
    const prying = await subscribe("ann", "open_notes", { filter: "secret=eq.x" });
    expect(JSON.stringify(prying.frames)).toContain("invalid column for filter secret");
  });

  it("follows policies, grants and the switch itself within a moment", async () => {
    const ann = await subscribe("ann", "open_notes");
    await cluster.sql.query("INSERT INTO open_notes VALUES (1, 'all see it')");
    await until(ann, 1);
    await cluster.sql.query("ALTER TABLE open_notes ENABLE ROW LEVEL SECURITY");
    await waitUntil(
      async () => {
        const { rows } = await cluster.sql.query<{ id: number }>(
          "INSERT INTO open_notes SELECT max(id) + 1, 'hidden' FROM open_notes RETURNING id",
        );
        await cluster.sql.query("CREATE TABLE IF NOT EXISTS marks (id int PRIMARY KEY)");
        const before = changesOf(ann).length;
        await new Promise((resolve) => setTimeout(resolve, 50));
        return changesOf(ann).length === before && changesOf(ann).at(-1)?.record?.["id"] !== rows[0]?.id;
      },
      { what: "the new rule to hold", timeoutMs: 2_000 },
    );
    await cluster.sql.query("CREATE POLICY everybody ON open_notes FOR SELECT USING (id >= 1000)");
    await cluster.sql.query("INSERT INTO open_notes VALUES (999, 'hidden'), (1000, 'seen')");
    await waitUntil(() => changesOf(ann).at(-1)?.record?.["id"] === 1000, { what: "row 1000" });
    expect(changesOf(ann).map(({ record }) => record?.["id"])).not.toContain(999);
    await cluster.sql.query("REVOKE SELECT ON open_notes FROM rls_user");
    let id = 1000;
    await waitUntil(
      async () => {
        await cluster.sql.query("INSERT INTO open_notes VALUES ($1, 'gone')", [++id]);
        return changesOf(ann).at(-1)?.errors?.[0] === "Error 401: Unauthorized";
      },
      { what: "the grant to be gone", timeoutMs: 3_000 },
    );
  });

  it("shows by the new token what is not shown yet", async () => {
    const ann = await subscribe("ann", "notes");
    await insert(1, "ann");
    await until(ann, 1);
    ann.send(["1", "2", "realtime:notes", "access_token", { access_token: await token("bob") }]);
    await waitUntil(() => JSON.stringify(ann.frames).split("Subscribed to PostgreSQL").length === 3, {
      what: "the channel to be subscribed anew",
    });
    await insert(2, "ann");
    await insert(3, "bob");
    await until(ann, 2);
    expect(changesOf(ann).map(({ record }) => record?.["id"])).toEqual([1, 3]);
  });

  it("holds for what is replayed, too", async () => {
    const from = await placeOf(cluster);
    for (let id = 1; id <= 10; id++) await insert(id, id % 2 === 0 ? "ann" : "bob");
    const ann = await openRaw(cluster.url, { vsn: "2.0.0", apikey: await token("ann") });
    cleanups.push(() => ann.end());
    const config = {
      postgres_changes: [{ event: "*", schema: "public", table: "notes" }],
      resume: { from },
    };
    ann.send(["1", "1", "realtime:notes", "phx_join", { config }]);
    await ann.next((frame) => JSON.stringify(frame).includes('"Resumed"'), "the end of catching up");
    await insert(11, "bob");
    await insert(12, "ann");
    await until(ann, 6);
    expect(changesOf(ann).map(({ record }) => record?.["id"])).toEqual([2, 4, 6, 8, 10, 12]);
  });

  it("lets a failing policy end only those who depend on it, with its words", async () => {
    await cluster.sql.query(
      `CREATE TABLE broken (id int PRIMARY KEY); ALTER TABLE broken ENABLE ROW LEVEL SECURITY;
       GRANT SELECT ON broken TO rls_user;
       CREATE POLICY broken ON broken FOR SELECT USING (1 / (id - id) = 1)`,
    );
    const [ann, bob] = [await subscribe("ann", "broken"), await subscribe("bob", "notes")];
    await cluster.sql.query("INSERT INTO broken VALUES (1)");
    await ann.next((frame) => (frame as Frame)[3] === "phx_error", "the channel to be ended");
    expect(JSON.stringify(ann.frames)).toContain("division by zero");
    await insert(1, "bob");
    await until(bob, 1);
  });

  it("lets policies of tables look at the headers that RLS_HEADERS names, and at no others", async () => {
    await cluster.addGateway({ RLS_HEADERS: "x-device, client-zone" });
    const gateway = cluster.gateways[1];
    if (gateway === undefined) throw new Error("no second gateway");
    await untilHealthy(gateway);
    await cluster.sql.query(
      `CREATE TABLE per_device (id int PRIMARY KEY, device text, zone text); ALTER TABLE per_device ENABLE ROW LEVEL SECURITY;
       GRANT SELECT ON per_device TO rls_user;
       CREATE FUNCTION header(name text) RETURNS text STABLE LANGUAGE sql AS
         $$ SELECT current_setting('request.headers')::json ->> name $$;
       CREATE POLICY device ON per_device FOR SELECT USING (device = 'all' OR header('x-other') IS NOT NULL
         OR device = header('x-device') AND zone IS NOT DISTINCT FROM header('client-zone'))`,
    );
    const open = async (port: number, headers: Record<string, string>): Promise<RawSocket> => {
      const url = `ws://127.0.0.1:${port}/socket`;
      const socket = await openRaw(url, { vsn: "2.0.0", apikey: await token("ann") }, headers);
      cleanups.push(() => socket.end());
      const binding = { event: "*", schema: "public", table: "per_device" };
      socket.send(["1", "1", "realtime:devices", "phx_join", { config: { postgres_changes: [binding] } }]);
      await socket.next((frame) => (frame as Frame)[3] === "system", "the end of subscribing");
      return socket;
    };
    const other = { "x-other": "1", "x-request-id": "2" };
    const d1 = await open(gateway.port, { "x-device": "d1", ...other });
    const d1too = await open(gateway.port, { "X-Device": "d1" });
    const d2 = await open(gateway.port, { "x-device": "d2", "client-zone": "z" });
    const without = await open(cluster.gateways[0]?.port ?? 0, { "x-device": "d1" });
    await cluster.sql.query(
      "INSERT INTO per_device VALUES (1, 'd1', NULL), (2, 'd2', NULL), (3, 'd2', 'z'), (4, 'all', NULL)",
    );
    const ids = async (socket: RawSocket): Promise<unknown[]> => {
      await waitUntil(() => changesOf(socket).some(({ record }) => record?.["id"] === 4), { what: "the last row" });
      return changesOf(socket).map(({ record }) => record?.["id"]);
    };
    expect([await ids(d1), await ids(d1too), await ids(d2), await ids(without)]).toEqual([[1, 4], [1, 4], [3, 4], [4]]);
  });
});
