import { createHmac } from "node:crypto";
import { migrate } from "@walcast/realtime-schema";
import { startNats, startPostgres } from "@walcast/testkit";
import { startCluster, type Cluster } from "../cluster.ts";
import { LightClient, openMany, type Tally } from "./light-client.ts";
import { cpuMicrosOf } from "./process-cost.ts";
import { percentile } from "./statistics.ts";

const clients = Number(process.env["RLS_CLIENTS"] ?? 2_000);
const seconds = Number(process.env["RLS_SECONDS"] ?? 60);
const changesPerSecond = Number(process.env["RLS_RATE"] ?? 100);
/** What Supabase publishes for as many clients under row level security: changes per second, at a p95 of 606 ms. */
const published = 10;
/** Rates that are tried one after the other, until one is not sustained. */
const rates = [100, 150, 200, 300, 400, 600, 800, 1_200, 1_600];
const searchSeconds = Math.min(seconds, 8);
/** Not sustained: a change takes longer than this to reach its last client. */
const lagLimitMs = 1_000;
const secret = "a secret of the bench, long enough";

const schema = `
  CREATE TABLE items (id bigint PRIMARY KEY, team int NOT NULL, t text, note text);
  DO $$ BEGIN CREATE ROLE bench_user NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
  GRANT USAGE ON SCHEMA public TO bench_user;
  GRANT SELECT ON items TO bench_user;
  ALTER TABLE items ENABLE ROW LEVEL SECURITY;
  CREATE POLICY everybody_of_a_team ON items FOR SELECT TO bench_user
    USING (team = -1 OR team = (SELECT (current_setting('request.jwt.claims')::json ->> 'team')::int));
  CREATE PUBLICATION supabase_realtime FOR ALL TABLES`;

/** Row level security: how many changes a second reach how many clients of how many distinct claims, and how late. */
export async function benchRls(only: string | undefined): Promise<void> {
  const [postgres, nats] = [await startPostgres(), await startNats()];
  const isWanted = (name: string): boolean => only === undefined || name.includes(only);
  try {
    for (const claims of [100, 1, 10, 1_000]) {
      const name = `${clients} clients, ${claims} claims`;
      if (!isWanted(name) && !(claims === 100 && isWanted("highest"))) continue;
      const cluster = await start(postgres.url, nats.url);
      try {
        const load = await openLoad(cluster, claims);
        if (isWanted(name))
          print(name, claims, await measure(load, { perSecond: changesPerSecond, forSeconds: seconds }));
        if (claims === 100 && isWanted("highest")) await search(load, claims);
        for (const client of load.clients) client.end();
      } finally {
        await cluster.stop();
      }
    }
    if (isWanted("private joins")) {
      const cluster = await start(postgres.url, nats.url);
      try {
        await privateJoins(cluster);
      } finally {
        await cluster.stop();
      }
    }
  } finally {
    await nats.stop();
    await postgres.stop();
  }
}

async function start(postgresUrl: string, natsUrl: string): Promise<Cluster> {
  return await startCluster({
    postgresUrl,
    natsUrl,
    schema,
    env: {
      SECURE_CHANNELS: "true",
      JWT_SECRET: secret,
      IDLE_TIMEOUT_MS: "600000",
      MAX_CONNECTIONS: "0",
      TENANT_MAX_JOINS_PER_SECOND: "0",
      TENANT_MAX_CONCURRENT_USERS: "0",
      DRAIN_MS: "500",
    },
  });
}
interface Load {
  readonly cluster: Cluster;
  readonly clients: readonly LightClient[];
  readonly tally: Tally;
  readonly port: number;
  readonly pid: number;
  nextId: number;
}

async function openLoad(cluster: Cluster, claims: number): Promise<Load> {
  const [gateway] = cluster.gateways;
  if (gateway === undefined) throw new Error("the cluster has no gateway");
  const { port, process: server } = gateway;
  const tally: Tally = { frames: 0, closed: 0 };
  const tokens = Array.from({ length: claims }, (_, team) => token({ role: "bench_user", team }));
  const config = { postgres_changes: [{ event: "*", schema: "public", table: "items" }] };
  const opened = await openMany(clients, async (i) => {
    const path = `/socket/websocket?vsn=2.0.0&apikey=${tokens[i % claims]}`;
    const client = await LightClient.open({ port, path }, tally);
    const subscribed = client.until("Subscribed to PostgreSQL");
    client.send(JSON.stringify(["1", "1", "realtime:bench", "phx_join", { config }]));
    await subscribed;
    return client;
  });
  const load: Load = { cluster, clients: opened, tally, port, pid: server.pid, nextId: 1 };
  await measure(load, { perSecond: 20, forSeconds: 3 }); // warms up, and every group has fallen apart
  return load;
}

interface Measured {
  readonly changesPerSecond: number;
  readonly delays: readonly number[];
  readonly questionsPerSecond: number;
  readonly deliveriesPerSecond: number;
  readonly cpu: number;
  readonly isSustained: boolean;
}

/** Rows that everybody sees, at a rate; each carries the moment of its insert, which some clients look at. */
async function measure(
  load: Load,
  { perSecond, forSeconds }: { readonly perSecond: number; readonly forSeconds: number },
): Promise<Measured> {
  const { cluster, tally } = load;
  const delays: number[] = [];
  const sampleEvery = Math.max(1, Math.floor(load.clients.length / 40));
  const sampled = load.clients.filter((_, i) => i % sampleEvery === 0);
  for (const client of sampled) {
    client.onFrame = (payload) => {
      const stamp = /"t":"(\d+)"/.exec(payload.toString("latin1"))?.[1];
      if (stamp !== undefined) delays.push(performance.now() - Number(stamp) / 1_000);
    };
  }
  const base = tally.frames;
  const questions = await questionsOf(load.port);
  const [startMs, startCpu] = [performance.now(), cpuMicrosOf(load.pid)];
  let sent = 0;
  while (performance.now() - startMs < forSeconds * 1_000) {
    const due = Math.floor(((performance.now() - startMs) / 1_000) * perSecond) + 1 - sent;
    if (due > 0) {
      await cluster.sql.query(
        "INSERT INTO items SELECT i, -1, $3::text, repeat('n', 200) FROM generate_series($1::bigint, $2::bigint) AS i",
        [load.nextId, load.nextId + due - 1, String(Math.round(performance.now() * 1_000))],
      );
      load.nextId += due;
      sent += due;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const sentMs = performance.now();
  const wanted = base + sent * load.clients.length;
  while (tally.frames < wanted && tally.closed === 0 && performance.now() - sentMs < 30_000) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const [endMs, endCpu] = [performance.now(), cpuMicrosOf(load.pid)];
  for (const client of sampled) client.onFrame = undefined;
  const elapsed = (endMs - startMs) / 1_000;
  return {
    changesPerSecond: sent / elapsed,
    delays,
    questionsPerSecond: ((await questionsOf(load.port)) - questions) / elapsed,
    deliveriesPerSecond: (tally.frames - base) / elapsed,
    cpu: (endCpu - startCpu) / 1_000 / (endMs - startMs),
    isSustained: tally.frames >= wanted && endMs - sentMs < lagLimitMs && percentile(delays, 0.99) < lagLimitMs,
  };
}

/** The highest rate of those tried at which the lag does not grow. */
async function search(load: Load, claims: number): Promise<void> {
  let best: Measured | undefined;
  for (const perSecond of rates) {
    const measured = await measure(load, { perSecond, forSeconds: searchSeconds });
    if (!measured.isSustained || measured.changesPerSecond < perSecond * 0.9) break;
    best = measured;
  }
  if (best !== undefined) print(`highest of ${clients} clients, ${claims} claims`, claims, best);
}

const halvesOf = (delays: readonly number[]): readonly (readonly number[])[] => {
  const middle = Math.floor(delays.length / 2);
  return [delays.slice(0, middle), delays.slice(middle)];
};

const round = (value: number): number => Number(value.toFixed(1));

function print(name: string, claims: number, measured: Measured): void {
  const line = {
    bench: "rls",
    case: name,
    clients,
    claims,
    ratio: round(measured.changesPerSecond / published),
    changes_per_s: round(measured.changesPerSecond),
    p50_ms: round(percentile(measured.delays, 0.5)),
    p95_ms: round(percentile(measured.delays, 0.95)),
    p99_ms: round(percentile(measured.delays, 0.99)),
    /** Of the first and the second half of what arrived: whether the lag grows. */
    p50_ms_of_halves: halvesOf(measured.delays).map((half) => round(percentile(half, 0.5))),
    queries_per_s: Math.round(measured.questionsPerSecond),
    deliveries_per_s: Math.round(measured.deliveriesPerSecond),
    gateway_cpu: round(measured.cpu),
    // As good on a busy machine as on a quiet one.
    gateway_us_per_delivery: Number(((measured.cpu * 1e6) / measured.deliveriesPerSecond).toFixed(2)),
    sustained: measured.isSustained,
  };
  console.log(JSON.stringify(line));
}

/** The gateway's own count of questions about rows. */
async function questionsOf(port: number): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const counts = text.matchAll(/^walcast_gateway_policy_question_seconds_count\{[^}]*\} (\d+)/gmu);
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** Users of 100 classes join private channels all at once: each class has one topic and one set of claims. */
async function privateJoins(cluster: Cluster): Promise<void> {
  const [joins, classes] = [Number(process.env["RLS_JOINS"] ?? 10_000), 100];
  const { sql, gateways } = cluster;
  await migrate(sql);
  await sql.query(`
    GRANT USAGE ON SCHEMA realtime TO bench_user;
    GRANT SELECT, INSERT ON realtime.messages TO bench_user;
    CREATE SEQUENCE evaluations;
    GRANT USAGE ON evaluations TO bench_user;
    CREATE POLICY own_class ON realtime.messages FOR SELECT TO bench_user USING (
      realtime.topic() = 'class-' || (current_setting('request.jwt.claims')::json ->> 'team')
      AND (extension <> 'broadcast' OR nextval('public.evaluations') > 0))`);
  const [gateway] = gateways;
  if (gateway === undefined) throw new Error("the cluster has no gateway");
  const tally: Tally = { frames: 0, closed: 0 };
  const tokens = Array.from({ length: classes }, (_, team) => token({ role: "bench_user", team }));
  const opened = await openMany(joins, async (i) => {
    const host = `127.0.0.${1 + (i % 16)}`;
    const path = `/socket/websocket?vsn=2.0.0&apikey=${tokens[i % classes]}`;
    return await LightClient.open({ host, port: gateway.port, path }, tally);
  });
  const startMs = performance.now();
  const delays = await Promise.all(
    opened.map(async (client, i) => {
      const joined = client.until('"status":"ok"');
      client.send(
        JSON.stringify(["1", "1", `realtime:class-${i % classes}`, "phx_join", { config: { private: true } }]),
      );
      await joined;
      return performance.now() - startMs;
    }),
  );
  const elapsedMs = performance.now() - startMs;
  const { rows } = await sql.query<{ last_value: string }>("SELECT last_value FROM evaluations");
  const line = {
    bench: "rls",
    case: "private joins",
    clients: joins,
    claims: classes,
    ms: Math.round(elapsedMs),
    joins_per_s: Math.round(joins / (elapsedMs / 1_000)),
    p99_ms: round(percentile(delays, 0.99)),
    policy_evaluations: Number(rows[0]?.last_value),
    closed: tally.closed,
  };
  console.log(JSON.stringify(line));
  for (const client of opened) client.end();
}

const base64 = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
const exp = Math.floor(Date.now() / 1_000) + 7_200;

/** HS256 (RFC 7515). */
function token(claims: object): string {
  const body = `${base64({ alg: "HS256", typ: "JWT" })}.${base64({ ...claims, exp })}`;
  return `${body}.${createHmac("sha256", secret).update(body).digest("base64url")}`;
}
