import { waitUntil } from "@walcast/testkit";
import { SignJWT } from "jose";
import { afterAll, beforeAll, expect, inject, it, onTestFinished } from "vitest";
import { startCluster, type Cluster } from "./cluster.ts";
import { openRaw, type RawSocket } from "./raw-socket.ts";

const secret = "a-secret-of-at-least-32-characters!!";
const schema = `
  CREATE TABLE letters (id int PRIMARY KEY, owner text NOT NULL, price int, hidden text);
  DO $$ BEGIN CREATE ROLE rls_user NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
  GRANT USAGE ON SCHEMA public TO rls_user;
  GRANT SELECT (id, owner, price) ON letters TO rls_user;
  ALTER TABLE letters REPLICA IDENTITY FULL, ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON letters FOR SELECT TO rls_user
    USING (owner = current_setting('request.jwt.claims', true)::json ->> 'sub');
  CREATE PUBLICATION supabase_realtime FOR ALL TABLES`;

type Frame = readonly [unknown, unknown, string, string, Record<string, unknown>];
interface Told {
  readonly position: string;
  readonly kind: string;
  readonly commit_timestamp: string | null;
  readonly bindings: readonly { readonly id: number; readonly verdict: string }[];
}

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    schema,
    env: { SECURE_CHANNELS: "true", JWT_SECRET: secret, ACCESS_POLL_MS: "100", INSPECTOR: "true" },
  });
});
afterAll(async () => {
  await cluster?.stop();
});

async function join(url: string, filters: readonly string[]): Promise<RawSocket> {
  const apikey = await new SignJWT({ sub: "ann", role: "rls_user" })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(secret));
  const socket = await openRaw(url, { vsn: "2.0.0", apikey });
  onTestFinished(() => socket.end());
  const bindings = filters.map((filter) => ({ event: "*", schema: "public", table: "letters", filter }));
  socket.send(["1", "1", "realtime:x", "phx_join", { config: { explain: true, postgres_changes: bindings } }]);
  return socket;
}
const told = ({ frames }: RawSocket): Told[] =>
  (frames as Frame[]).filter(([, , , event]) => event === "explain").map((frame) => frame[4] as unknown as Told);
const positions = ({ frames }: RawSocket): unknown[] =>
  (frames as Frame[])
    .filter(([, , , event]) => event === "postgres_changes")
    .map((frame) => (frame[4]["data"] as { position: string }).position);

it("tells why, matched being what is delivered, and of others' rows no more than that something changed", async () => {
  const socket = await join(cluster.url, ["price=gt.10,or=(id.eq.1,id.eq.2)"]);
  await socket.next((frame) => (frame as Frame)[3] === "system", "the end of subscribing");
  await cluster.sql.query("INSERT INTO letters VALUES (1, 'ann', 20, 'deep')");
  await cluster.sql.query("INSERT INTO letters VALUES (3, 'ann', 20, 'deep')");
  await cluster.sql.query("INSERT INTO letters VALUES (2, 'bob', 20, 'deep')");
  await cluster.sql.query("INSERT INTO letters VALUES (4, 'bob', 1, 'deep')");
  await cluster.sql.query("DELETE FROM letters WHERE id = 4");
  await waitUntil(() => told(socket).length === 5, { what: `five explanations: ${JSON.stringify(socket.frames)}` });
  const [mine, other, hidden, hiddenToo, deleted] = told(socket);
  expect(mine?.bindings).toMatchObject([{ verdict: "matched" }]);
  expect(positions(socket)).toEqual([mine?.position]);
  expect(other?.bindings).toMatchObject([
    {
      verdict: "filter",
      terms: [
        {
          text: "or=(id.eq.1,id.eq.2)",
          holds: false,
          terms: [
            { text: "id.eq.1", holds: false },
            { text: "id.eq.2", holds: false },
          ],
        },
      ],
    },
  ]);
  for (const one of [hidden, hiddenToo]) {
    expect(one).toEqual({
      position: expect.any(String) as unknown,
      schema: "public",
      table: "letters",
      kind: "INSERT",
      commit_timestamp: null,
      bindings: [{ id: expect.any(Number) as unknown, verdict: "hidden" }],
    });
  }
  expect(deleted?.bindings).toMatchObject([{ verdict: "filter", terms: [] }]);
  expect(JSON.stringify(socket.frames)).not.toContain("deep");
  expect(JSON.stringify(socket.frames)).not.toContain("bob");
});

it("is refused where the inspector is off, with the way out", async () => {
  const plain = await cluster.addGateway({ INSPECTOR: "false" });
  const url = `ws://127.0.0.1:${plain.port}/socket`;
  await waitUntil(async () => (await plain.health()).status === "ok", { what: "the gateway to be healthy" });
  const socket = await join(url, ["id=eq.1"]);
  const answer = (await socket.next((frame) => (frame as Frame)[3] === "phx_reply", "the answer")) as Frame;
  expect(answer[4]).toMatchObject({ status: "error" });
  expect(JSON.stringify(answer[4])).toContain("ExplainNotAvailable: config.explain needs INSPECTOR=true");
});
