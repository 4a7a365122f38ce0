import { connect } from "node:net";
import { fileURLToPath } from "node:url";
import { freePort, spawnService, startNats, startPostgres, waitUntil } from "@walcast/testkit";
import { startCluster, untilHealthy, type Cluster, type RunningService } from "../cluster.ts";
import { LightClient, openMany, type Tally } from "./light-client.ts";
import { createItems, makeBatch, note, openWriter, type BenchWriter } from "./item-log.ts";
import { encodeOrder } from "./peers/orders.ts";
import { cpuMicrosOf } from "./process-cost.ts";
import { median, percentile } from "./statistics.ts";

/** Changes or broadcasts of one batch, which are frames of one turn of the event loop. */
const perTurn = 50;
/** Batches on their way at once: enough that no part waits for another. */
const windowTurns = 4;
const rounds = 5;
const roundMs = 3_000;
const latencyMs = 5_000;
/** One client in this many looks at its frames, for latency. */
const sampleEvery = 50;
const sizes = [1_000, 5_000] as const;
export const peers = ["uws", "ws", "socket.io"] as const;
export type Peer = (typeof peers)[number];

/** Something that sends frames to many sockets: the gateway or the yardstick. */
interface Load {
  readonly clients: readonly LightClient[];
  readonly tally: Tally;
  readonly pid: number;
  /** Has `perTurn` frames sent to every client, each carrying the stamp. */
  readonly turn: (stamp: string) => void;
  /** Ends what serves this load alone, if anything. */
  readonly stop?: () => Promise<unknown>;
}

/** Fan-out of changes and of broadcasts to many sockets, against a server that does nothing else. */
export async function benchFanout(only: string | undefined, peer: Peer): Promise<void> {
  const [postgres, nats] = [await startPostgres(), await startNats()];
  try {
    for (const size of sizes) {
      if (only !== undefined && only !== String(size)) continue;
      for (const what of ["changes", "broadcast"] as const) {
        const cluster = await startCluster({
          postgresUrl: postgres.url,
          natsUrl: nats.url,
          ingesters: 0,
          gateways: 0,
          env: { IDLE_TIMEOUT_MS: "600000", TENANT_MAX_EVENTS_PER_SECOND: "0", MAX_CONNECTIONS: "0" },
        });
        const writer = await openWriter(nats.url, cluster.database.name);
        const gateway = await cluster.addGateway(); // after there is a log
        await untilHealthy(gateway);
        await compare({ cluster, gateway, writer, size, what, peer });
        await writer.close();
        await cluster.stop();
      }
    }
  } finally {
    await nats.stop();
    await postgres.stop();
  }
}

interface Comparison {
  readonly cluster: Cluster;
  readonly gateway: RunningService;
  readonly writer: BenchWriter;
  readonly size: number;
  readonly what: "changes" | "broadcast";
  readonly peer: Peer;
}

async function compare(comparison: Comparison): Promise<void> {
  const { what, size, peer } = comparison;
  const ours = await (what === "changes" ? changeLoad(comparison) : broadcastLoad(comparison));
  const sample = await sampleFrame(ours);
  const theirs = await peerLoad(comparison, sample);
  const [rates, peerRates]: [Throughput[], Throughput[]] = [[], []];
  for (let i = 0; i <= rounds; i++) {
    const [one, other] = [await throughput(ours), await throughput(theirs)];
    if (i === 0) continue; // the first ones warm up
    rates.push(one);
    peerRates.push(other);
  }
  const perSecond = median(rates.map((one) => one.perSecond));
  const peerPerSecond = median(peerRates.map((one) => one.perSecond));
  // Both at half of what the slower one can.
  const turnsPerSecond = Math.min(perSecond, peerPerSecond) / 2 / perTurn / size;
  const [delays, peerDelays] = [await latency(ours, turnsPerSecond), await latency(theirs, turnsPerSecond)];
  const line = {
    bench: "fanout",
    case: `${what}, ${size} sockets, against ${peer}`,
    ratio: round(perSecond / peerPerSecond),
    deliveries_per_s: Math.round(perSecond),
    peer_deliveries_per_s: Math.round(peerPerSecond),
    server_cpu_ns_per_delivery: Math.round(median(rates.map((one) => one.cpuNanos))),
    peer_cpu_ns_per_delivery: Math.round(median(peerRates.map((one) => one.cpuNanos))),
    frame_bytes: sample.length,
    p50_ms: round(percentile(delays, 0.5)),
    p99_ms: round(percentile(delays, 0.99)),
    peer_p50_ms: round(percentile(peerDelays, 0.5)),
    peer_p99_ms: round(percentile(peerDelays, 0.99)),
    closed: ours.tally.closed + theirs.tally.closed,
  };
  console.log(JSON.stringify(line));
  for (const { clients, stop } of [ours, theirs]) {
    for (const client of clients) client.end();
    await stop?.();
  }
}

const round = (value: number): number => Number(value.toFixed(2));

const joinFrame = (config: object): string =>
  JSON.stringify(["1", "1", "realtime:bench", "phx_join", { config: { ...config, private: false } }]);

/** The gateway fans out rows that the log brings. */
async function changeLoad({ cluster, gateway, writer, size }: Comparison): Promise<Load> {
  const { port } = gateway;
  await cluster.sql.query(createItems);
  const tally: Tally = { frames: 0, closed: 0 };
  const bindings = [{ event: "*", schema: "public", table: "items" }];
  const clients = await openMany(size, async () => {
    const client = await LightClient.open({ port, path: "/socket/websocket?vsn=2.0.0" }, tally);
    const subscribed = client.until("Subscribed to PostgreSQL");
    client.send(joinFrame({ postgres_changes: bindings }));
    await subscribed;
    return client;
  });
  let turns = 0;
  const turn = (stamp: string): void => {
    writer.append(makeBatch(++turns, { stamp, changes: perTurn })).catch((error: unknown) => {
      throw error;
    });
  };
  return { clients, tally, pid: gateway.process.pid, turn };
}

/** One more client sends broadcasts, which the gateway fans out. */
async function broadcastLoad({ gateway, size }: Comparison): Promise<Load> {
  const { port } = gateway;
  const tally: Tally = { frames: 0, closed: 0 };
  const open = async (): Promise<LightClient> => {
    const client = await LightClient.open({ port, path: "/socket/websocket?vsn=2.0.0" }, tally);
    const joined = client.until("phx_reply");
    client.send(joinFrame({ broadcast: { self: false, ack: false } }));
    await joined;
    return client;
  };
  const clients = await openMany(size, open);
  const sender = await open();
  const turn = (stamp: string): void => {
    const payload = { type: "broadcast", event: "moved", payload: { t: stamp, note } };
    const frame = JSON.stringify(["1", null, "realtime:bench", "broadcast", payload]);
    sender.send(...Array.from({ length: perTurn }, () => frame));
  };
  return { clients, tally, pid: gateway.process.pid, turn };
}

/** The same frames from the yardstick. */
async function peerLoad({ size, peer }: Comparison, sample: Buffer): Promise<Load> {
  const port = await freePort();
  const service = spawnService({
    entry: fileURLToPath(new URL(`peers/${peer}.ts`, import.meta.url)),
    env: { PORT: String(port) },
    name: peer,
  });
  const { orders } = JSON.parse(await service.waitForLine("orders")) as { orders: number };
  const tally: Tally = { frames: 0, closed: 0 };
  const clients = await openMany(size, async () => {
    if (peer !== "socket.io") return LightClient.open({ port, path: "/" }, tally);
    const client = await LightClient.open({ port, path: "/socket.io/?EIO=4&transport=websocket" }, tally);
    const connected = client.until("40{");
    client.send("40");
    await connected;
    return client;
  });
  const orderSocket = connect(orders, "127.0.0.1");
  const stampAt = stampOffset(sample);
  const turn = (stamp: string): void => {
    const frame = Buffer.from(sample);
    frame.write(stamp, stampAt, "latin1");
    orderSocket.write(encodeOrder(Array.from({ length: perTurn }, () => frame)));
  };
  return { clients, tally, pid: service.pid, turn, stop: () => service.stop() };
}

const stampDigits = 16;
/** Microseconds of this process's clock, always as many digits. */
const stampNow = (): string => String(Math.round(performance.now() * 1_000)).padStart(stampDigits, "0");
/** Socket.io puts text in JSON again, with a backslash before each quote. */
const stampMark = /"t\\?":\\?"/;
function stampOffset(frame: Buffer): number {
  const match = stampMark.exec(frame.toString("latin1"));
  if (match === null) throw new Error(`a frame without a stamp: ${frame.toString()}`);
  return match.index + match[0].length;
}

async function sampleFrame(load: Load): Promise<Buffer> {
  const [first] = load.clients;
  if (first === undefined) throw new Error("no clients");
  const frame = new Promise<Buffer>((resolve) => {
    first.onFrame = (payload) => resolve(Buffer.from(payload));
  });
  const before = load.tally.frames;
  load.turn(stampNow());
  const taken = await frame;
  first.onFrame = undefined;
  await delivered(load, before + perTurn * load.clients.length);
  return taken;
}

const delivered = ({ tally }: Load, frames: number): Promise<unknown> =>
  waitUntil(() => tally.frames >= frames, { what: `${frames} frames, ${tally.frames} so far`, timeoutMs: 30_000 });

interface Throughput {
  readonly perSecond: number;
  readonly cpuNanos: number;
}

/** As many turns as the server takes, a few on their way at any time. */
async function throughput(load: Load): Promise<Throughput> {
  const { tally, clients } = load;
  const perTurnFrames = perTurn * clients.length;
  const base = tally.frames;
  let turns = 0;
  let isRunning = true;
  const pump = (): void => {
    while (isRunning && turns * perTurnFrames - (tally.frames - base) < windowTurns * perTurnFrames) {
      turns++;
      load.turn(stampNow());
    }
  };
  const [startMs, startCpu] = [performance.now(), cpuMicrosOf(load.pid)];
  tally.onProgress = pump;
  pump();
  await new Promise((resolve) => setTimeout(resolve, roundMs));
  isRunning = false;
  await delivered(load, base + turns * perTurnFrames);
  delete tally.onProgress;
  const frames = tally.frames - base;
  return {
    perSecond: frames / ((performance.now() - startMs) / 1_000),
    cpuNanos: ((cpuMicrosOf(load.pid) - startCpu) * 1_000) / frames,
  };
}

/** Milliseconds from giving a turn away to each sampled client's reading each of its frames. */
async function latency(load: Load, turnsPerSecond: number): Promise<number[]> {
  const delays: number[] = [];
  for (let i = 0; i < load.clients.length; i += sampleEvery) {
    const client = load.clients[i];
    if (client === undefined) continue;
    client.onFrame = (payload) => {
      const at = stampOffset(payload);
      delays.push(performance.now() - Number(payload.toString("latin1", at, at + stampDigits)) / 1_000);
    };
  }
  const base = load.tally.frames;
  const startMs = performance.now();
  let turns = 0;
  while (performance.now() - startMs < latencyMs) {
    const due = ((performance.now() - startMs) / 1_000) * turnsPerSecond;
    for (; turns < due; turns++) load.turn(stampNow());
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await delivered(load, base + turns * perTurn * load.clients.length);
  for (const client of load.clients) client.onFrame = undefined;
  return delays;
}
