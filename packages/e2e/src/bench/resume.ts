import { startNats, startPostgres, waitUntil } from "@walcast/testkit";
import { startCluster, untilHealthy, type Cluster, type RunningService } from "../cluster.ts";
import { createItems, makeBatch, openWriter, type BenchWriter } from "./item-log.ts";
import { LightClient, openMany, type Tally } from "./light-client.ts";
import { median, percentile } from "./statistics.ts";

const rounds = 5;
const perBatch = 100;
/** The changes that clients missed are the log's first, so that the position before everything is theirs. */
const beginning = "1.0/0.0";
const returning = 2_000;
const missedByEach = 1_000;
const liveMs = 5_000;
/** One alone has some hundred delays, whose p99 is the worst of them. */
const storms = 5;
/** Each of them goes to all clients, one at a time, which is far below what a gateway delivers. */
const livePerSecond = 20;

/** How fast what was missed comes, and what those who are live feel of it. */
export async function benchResume(only: string | undefined): Promise<void> {
  const [postgres, nats] = [await startPostgres(), await startNats()];
  try {
    for (const missed of [missedByEach, 100_000]) {
      for (const from of ["memory", "log"] as const) {
        if (only !== undefined && !from.includes(only)) continue;
        const system = await start(postgres.url, nats.url, { missed, from });
        await catchUp(system, { missed, from });
        await end(system);
      }
    }
    if (only === undefined || "storm".includes(only)) {
      const system = await start(postgres.url, nats.url, { missed: missedByEach, from: "memory" });
      await storm(system);
      await end(system);
    }
  } finally {
    await nats.stop();
    await postgres.stop();
  }
}

interface System {
  readonly cluster: Cluster;
  readonly writer: BenchWriter;
  readonly gateway: RunningService;
  /** Batches written so far. */
  written: number;
}

async function end({ writer, cluster }: System): Promise<void> {
  await writer.close();
  await cluster.stop();
}

async function start(
  postgresUrl: string,
  natsUrl: string,
  { missed, from }: { missed: number; from: "memory" | "log" },
): Promise<System> {
  const env = { IDLE_TIMEOUT_MS: "600000", MAX_CONNECTIONS: "0", RESUME_MEMORY_BYTES: String(256 * 2 ** 20) };
  const cluster = await startCluster({ postgresUrl, natsUrl, ingesters: 0, gateways: 0, env });
  await cluster.sql.query(createItems);
  const writer = await openWriter(natsUrl, cluster.database.name);
  const write = async (): Promise<number> => {
    const batches = missed / perBatch;
    for (let n = 1; n <= batches; n++) await writer.append(makeBatch(n, { stamp: "0", changes: perBatch }));
    return batches;
  };
  // A gateway has in memory what it read itself.
  let written = from === "log" ? await write() : 0;
  const gateway = await cluster.addGateway();
  await untilHealthy(gateway);
  if (from === "memory") written = await write();
  return { cluster, writer, gateway, written };
}

const join = (from: string | undefined): string =>
  JSON.stringify([
    "1",
    "1",
    "realtime:bench",
    "phx_join",
    {
      config: {
        postgres_changes: [{ event: "*", schema: "public", table: "items" }],
        ...(from === undefined ? {} : { resume: { from } }),
      },
    },
  ]);

const open = ({ gateway }: System, tally: Tally): Promise<LightClient> =>
  LightClient.open({ port: gateway.port, path: "/socket/websocket?vsn=2.0.0" }, tally);

async function catchUp(system: System, { missed, from }: { missed: number; from: string }): Promise<void> {
  const times: number[] = [];
  for (let i = 0; i <= rounds; i++) {
    const tally: Tally = { frames: 0, closed: 0 };
    const client = await open(system, tally);
    const startedMs = performance.now();
    const done = client.until('"Resumed"');
    client.send(join(beginning));
    await done;
    if (i > 0) times.push(performance.now() - startedMs); // the first one warms up
    if (tally.frames < missed) throw new Error(`${tally.frames} frames of ${missed} changes`);
    client.end();
  }
  const ms = median(times);
  const line = {
    bench: "resume",
    case: `${missed} changes from ${from}`,
    ms: round(ms),
    changes_per_s: Math.round((missed / ms) * 1_000),
  };
  console.log(JSON.stringify(line));
}

/** Many come back at once; one who is live all the while measures what it feels of it. */
async function storm(system: System): Promise<void> {
  const tally: Tally = { frames: 0, closed: 0 };
  const live = await open(system, tally);
  const subscribed = live.until("Subscribed to PostgreSQL");
  live.send(join(undefined));
  await subscribed;
  const others: Tally = { frames: 0, closed: 0 };
  const clients = await openMany(returning, async () => {
    const client = await open(system, others);
    const listens = client.until("Subscribed to PostgreSQL");
    client.send(join(undefined));
    await listens;
    return client;
  });
  await liveDelays(system, live); // warms up
  const [calm, delays]: [number[], number[]] = [[], []];
  let stormMs = 0;
  for (let i = 0; i < storms; i++) {
    calm.push(...(await liveDelays(system, live)));
    const base = others.frames;
    const startedMs = performance.now();
    for (const client of clients) client.send(join(beginning)); // takes the place of the former join
    const during = liveDelays(system, live);
    await waitUntil(() => others.frames >= base + returning * missedByEach, {
      what: `${returning} clients to catch up, ${others.frames} frames so far`,
      timeoutMs: 120_000,
    });
    stormMs += performance.now() - startedMs;
    delays.push(...(await during));
  }
  const seconds = stormMs / 1_000 / storms;
  const [before, after] = [percentile(calm, 0.99), percentile(delays, 0.99)];
  const line = {
    bench: "resume",
    case: `storm of ${returning} clients, ${missedByEach} changes each`,
    seconds: round(seconds),
    deliveries_per_s: Math.round((returning * missedByEach) / seconds),
    live_p50_ms: round(percentile(delays, 0.5)),
    live_p99_ms: round(after),
    calm_live_p99_ms: round(before),
    ratio: round(after / before),
    closed: others.closed,
  };
  console.log(JSON.stringify(line));
  for (const client of [live, ...clients]) client.end();
}

/** Milliseconds from appending single changes to reading them. */
async function liveDelays(system: System, client: LightClient): Promise<number[]> {
  const delays: number[] = [];
  client.onFrame = (payload) => {
    const stamp = /"t":"(\d+)"/.exec(payload.toString("latin1"))?.[1];
    if (stamp !== undefined && stamp !== "0") delays.push(performance.now() - Number(stamp) / 1_000);
  };
  const startedMs = performance.now();
  let sent = 0;
  while (performance.now() - startedMs < liveMs) {
    for (const due = ((performance.now() - startedMs) / 1_000) * livePerSecond; sent < due; sent++) {
      const stamp = String(Math.round(performance.now() * 1_000));
      await system.writer.append(makeBatch(++system.written, { stamp, changes: 1 }));
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await waitUntil(() => delays.length >= sent, { what: "the live changes", timeoutMs: 30_000 });
  client.onFrame = undefined;
  return delays;
}

const round = (value: number): number => Number(value.toFixed(2));
