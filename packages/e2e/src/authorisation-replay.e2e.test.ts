import { migrate } from "@walcast/realtime-schema";
import { waitUntil } from "@walcast/testkit";
import { SignJWT } from "jose";
import { afterAll, afterEach, beforeAll, expect, inject, it } from "vitest";
import { baseSchema, changeMembers, Random, randomUser, roles, type User } from "./authorisation-model.ts";
import { startCluster, type Cluster } from "./cluster.ts";
import { openRaw, type RawSocket } from "./raw-socket.ts";

// Whoever joins a private channel with a replay gets exactly what a SELECT as the same user returns, if a probe row says that
// it may read broadcasts there at all: at once, because without POLICY_CACHE_MS every join asks anew. Policies, privileges, users, messages and what is asked for are random.

const env = process.env;
const seed = Number(env["AUTHORISATION_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const cases = Number(env["AUTHORISATION_CASES"] ?? 25);
const secret = "a-secret-of-at-least-32-characters!!";
const expires = Math.floor(Date.now() / 1000) + 6 * 3600;

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    schema: baseSchema,
    env: { SECURE_CHANNELS: "true", JWT_SECRET: secret, TENANT_MAX_JOINS_PER_SECOND: "0", POLICY_CACHE_MS: "0" },
  });
  await migrate(cluster.sql, {});
  await cluster.sql.query(`GRANT USAGE ON SCHEMA realtime TO ${roles.join(", ")}`);
});
afterAll(() => cluster.stop());
const sockets: RawSocket[] = [];
afterEach(() => sockets.splice(0).forEach((socket) => socket.end()));

const topics = ["room x", "room y", "hall"] as const;
const conditions = [
  "realtime.topic() = topic",
  "topic = 'room ' || claim('tenant')",
  "extension = 'broadcast' AND topic LIKE 'room%'",
  "extension = 'presence'",
  "payload IS NULL OR payload ->> 'owner' = claim('sub')",
  "payload IS NULL OR (payload ->> 'n')::int % 2 = 0",
  "EXISTS (SELECT FROM public.members m WHERE m.sub = claim('sub') AND topic = 'room ' || m.tenant)",
  "claim('role') IN ('authz_a')",
  "binary_payload IS NULL",
  "private",
  "true",
  "false",
  "topic IN (SELECT sub FROM public.nobodys)",
] as const;

async function dropPolicies(isDropped: () => boolean): Promise<void> {
  const { rows } = await cluster.sql.query<{ name: string }>(
    "SELECT polname AS name FROM pg_policy WHERE polrelid = 'realtime.messages'::regclass AND polname LIKE 'p%'",
  );
  for (const { name } of rows) {
    if (isDropped()) await cluster.sql.query(`DROP POLICY ${name} ON realtime.messages`);
  }
}

async function changeRights(random: Random): Promise<void> {
  const { sql } = cluster;
  await dropPolicies((): boolean => random.chance(0.6));
  for (let i = random.below(4); i > 0; i--) {
    const kind = random.chance(0.25) ? "RESTRICTIVE" : "PERMISSIVE";
    const to = random.pick(["PUBLIC", "PUBLIC", "authz_a", "authz_b, authz_owner"]);
    const name = `p${random.below(2 ** 31)}`;
    await sql.query(
      `CREATE POLICY ${name} ON realtime.messages AS ${kind} FOR SELECT TO ${to} USING (${random.pick(conditions)})`,
    );
  }
  for (const role of roles) {
    await sql.query(`REVOKE ALL ON realtime.messages FROM ${role}`);
    if (random.chance(0.9)) await sql.query(`GRANT SELECT ON realtime.messages TO ${role}`);
  }
}

async function sendSome(random: Random): Promise<void> {
  const { sql } = cluster;
  for (let i = random.below(12); i > 0; i--) {
    const topic = random.pick(topics);
    const payload = { n: random.below(100), owner: random.pick(["ann", "bob", "cat"]) };
    if (random.chance(0.15)) {
      await sql.query(String.raw`SELECT realtime.send_binary('\x0102', 'bytes', $1, true)`, [topic]);
    } else {
      await sql.query("SELECT realtime.send($1, 'said', $2, $3)", [JSON.stringify(payload), topic, random.chance(0.9)]);
    }
  }
}

const claimsOf = ({ sub, role, tenant }: User): Record<string, unknown> => ({ sub, role, tenant, exp: expires });

interface Asked {
  readonly user: User;
  readonly topic: string;
  readonly since: number;
  readonly limit: number;
}

/** What PostgreSQL shows: whether the user may read each kind, and the ids of the messages in order. */
async function look({ user, topic, since, limit }: Asked): Promise<{
  readonly reads: { readonly broadcast: boolean; readonly presence: boolean };
  readonly ids: readonly string[] | undefined;
}> {
  const { sql } = cluster;
  await sql.query("BEGIN");
  try {
    const { rows: probes } = await sql.query<{ id: string; extension: "broadcast" | "presence" }>(
      `INSERT INTO realtime.messages (topic, extension) VALUES ($1, 'broadcast'), ($1, 'presence') RETURNING id, extension`,
      [topic],
    );
    await sql.query(
      `SELECT set_config('request.jwt.claims', $1, true), set_config('request.jwt.claim.sub', $2, true),
              set_config('request.jwt.claim.role', $3, true), set_config('realtime.topic', $4, true)`,
      [JSON.stringify(claimsOf(user)), user.sub, user.role, topic],
    );
    await sql.query(`SET LOCAL ROLE ${user.role}`);
    const ask = async (text: string, values: unknown[]): Promise<string[] | undefined> => {
      await sql.query("SAVEPOINT look");
      try {
        return (await sql.query<{ id: string }>(text, values)).rows.map(({ id }) => id);
      } catch (error) {
        if ((error as { code?: string }).code !== "42501") throw error;
        await sql.query("ROLLBACK TO SAVEPOINT look");
        return undefined;
      }
    };
    const seen = await ask("SELECT id FROM realtime.messages WHERE id = ANY($1)", [probes.map(({ id }) => id)]);
    const ids = await ask(
      `SELECT id FROM (SELECT id, inserted_at FROM realtime.messages
                        WHERE topic = $1 AND private AND extension = 'broadcast' AND event IS NOT NULL
                          AND inserted_at >= to_timestamp($2 / 1000.0)::timestamp
                        ORDER BY inserted_at DESC LIMIT $3) m ORDER BY inserted_at`,
      [topic, since, limit],
    );
    const mayRead = (kind: string): boolean =>
      probes.some(({ id, extension }) => extension === kind && seen?.includes(id) === true);
    return { reads: { broadcast: mayRead("broadcast"), presence: mayRead("presence") }, ids };
  } finally {
    await sql.query("ROLLBACK");
  }
}

type Frame = readonly [unknown, unknown, string, string, Record<string, unknown>];
/** A kind 4 frame's id, or that of a text broadcast. */
function idOf(frame: unknown): string | undefined {
  if (Buffer.isBuffer(frame)) return /"replayed":true,"id":"([^"]+)"/u.exec(frame.toString("latin1"))?.[1];
  const [, , , event, payload] = frame as Frame;
  const meta = event === "broadcast" ? (payload["meta"] as { replayed?: boolean; id?: string }) : undefined;
  return meta?.replayed === true ? meta.id : undefined;
}

async function joinAs({ user, topic, since, limit }: Asked): Promise<{ reason: string; ids: readonly string[] }> {
  const apikey = await new SignJWT(claimsOf(user))
    .setProtectedHeader({ alg: "HS256" })
    .sign(new TextEncoder().encode(secret));
  const socket = await openRaw(cluster.url, { vsn: "2.0.0", apikey });
  sockets.push(socket);
  const config = { private: true, broadcast: { replay: { since, limit } } };
  socket.send(["1", "1", `realtime:${topic}`, "phx_join", { config }]);
  // Whatever is replayed comes before the answer to what is sent after the join was answered.
  await socket.next((frame) => !Buffer.isBuffer(frame) && (frame as Frame)[1] === "1", "the answer to the join");
  socket.send([null, "2", "phoenix", "heartbeat", {}]);
  await socket.next((frame) => !Buffer.isBuffer(frame) && (frame as Frame)[1] === "2", "the heartbeat");
  const answer = socket.frames.find((frame) => !Buffer.isBuffer(frame) && (frame as Frame)[1] === "1") as Frame;
  const { reason = "" } = answer[4]["response"] as { reason?: string };
  return { reason, ids: socket.frames.flatMap((frame) => idOf(frame) ?? []) };
}

const refused = (words: string): unknown => expect.stringContaining(words);

let compared = 0;
async function runCase(caseSeed: number): Promise<void> {
  const random = new Random(caseSeed);
  await changeRights(random);
  for (let step = 0; step < 3; step++) {
    await sendSome(random);
    if (random.chance(0.5)) await changeMembers(cluster.sql, random);
    for (let i = 0; i < 8; i++) {
      const asked = {
        user: randomUser(random),
        topic: random.pick(topics),
        since: random.chance(0.7) ? 0 : Date.now() - random.below(3_000),
        limit: random.pick([1, 3, 10, 25, 25]),
      };
      const what = `seed ${caseSeed}, ${JSON.stringify(asked)}`;
      const { reads, ids } = await look(asked);
      const joined = await joinAs(asked);
      compared += joined.ids.length;
      const given = { what, ...joined };
      if (!reads.broadcast && !reads.presence) expect(given).toMatchObject({ what, reason: refused("Unauthorized: ") });
      else if (!reads.broadcast) expect(given).toEqual({ what, reason: "", ids: [] });
      else if (ids === undefined) expect(given).toMatchObject({ what, reason: refused("UnableToReplayMessages: ") });
      else expect(given).toEqual({ what, reason: "", ids });
    }
  }
  sockets.splice(0).forEach((socket) => socket.end());
  await cluster.sql.query("TRUNCATE realtime.messages; DELETE FROM members");
}

it(
  `what is replayed is what PostgreSQL shows (AUTHORISATION_SEED=${seed}, ${cases} cases)`,
  async () => {
    for (let i = 0; i < cases; i++) await runCase(seed + i);
    expect(compared).toBeGreaterThan(0);
    if (env["AUTHORISATION_CASES"] !== undefined) {
      process.stdout.write(`${JSON.stringify({ test: "authorisation replay", seed, cases, compared })}\n`);
    }
  },
  60_000 + cases * 20_000,
);

it("another token while the join is under way is shown nothing that neither may see", async () => {
  const random = new Random(seed);
  const { sql } = cluster;
  await dropPolicies(() => true);
  await sql.query(`GRANT SELECT ON realtime.messages TO ${roles.join(", ")};
    CREATE POLICY own ON realtime.messages FOR SELECT USING (payload IS NULL OR payload ->> 'owner' = claim('sub'))`);
  for (let n = 0; n < 10; n++) {
    await sql.query("SELECT realtime.send($1, 'said', 'room', true)", [
      JSON.stringify({ n, owner: random.pick(["ann", "bob", "cat"]) }),
    ]);
  }
  const tokenOf = (sub: string): Promise<string> =>
    new SignJWT({ sub, role: "authz_a", exp: expires })
      .setProtectedHeader({ alg: "HS256" })
      .sign(new TextEncoder().encode(secret));
  for (let i = 0; i < 20; i++) {
    const socket = await openRaw(cluster.url, { vsn: "2.0.0", apikey: await tokenOf("ann") });
    sockets.push(socket);
    const changes = [{ event: "*", schema: "public", table: "marks" }];
    const wait = i % 2 === 0 ? { postgres_changes: changes, postgres_changes_options: { wait: true } } : {};
    const config = { private: true, broadcast: { replay: { since: 0 } }, ...wait };
    socket.send(["1", "1", "realtime:room", "phx_join", { config }]);
    if (random.chance(0.5)) await new Promise(setImmediate);
    socket.send(["1", "2", "realtime:room", "access_token", { access_token: await tokenOf("bob") }]);
    await waitUntil(() => socket.frames.some((frame) => idOf(frame) !== undefined), { what: "the replay" });
    const owners = (socket.frames as Frame[])
      .filter((frame) => idOf(frame) !== undefined)
      .map((frame) => (frame[4]["payload"] as { owner: string }).owner);
    expect(new Set(owners).size).toBe(1);
    expect(["ann", "bob"]).toContain(owners[0]);
  }
});
