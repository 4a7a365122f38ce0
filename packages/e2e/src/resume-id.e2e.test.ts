import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import { startRedis, waitUntil } from "@walcast/testkit";
import { afterEach, expect, inject, it } from "vitest";
import { startBalancer } from "./balancer.ts";
import { startCluster, untilHealthy, type Cluster, type RunningService } from "./cluster.ts";
import { openRaw, refusedUpgrade, type RawSocket } from "./raw-socket.ts";

const require = createRequire(import.meta.url);
const cleanups: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function start(env: Record<string, string> = {}, gateways = 1): Promise<Cluster> {
  const cluster = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    gateways,
    env: { REDIS_URL: inject("redisUrl"), ...env },
  });
  cleanups.push(() => cluster.stop());
  await cluster.sql.query("CREATE TABLE rows (id int PRIMARY KEY, note text)");
  return cluster;
}

const insert = (cluster: Cluster, from: number, to = from, bytes = 10): Promise<unknown> =>
  cluster.sql.query("INSERT INTO rows SELECT i, repeat('x', $3) FROM generate_series($1::int, $2::int) AS i", [
    from,
    to,
    bytes,
  ]);
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

type Frame = readonly [unknown, unknown, string, string, Record<string, unknown>];
const topic = "realtime:rows";

/** A client that knows nothing of positions, on its `socket`. */
async function join(cluster: Cluster, id: string): Promise<RawSocket> {
  const socket = await openRaw(cluster.url, { vsn: "2.0.0", resume: id });
  cleanups.push(() => socket.end());
  send(socket, "phx_join", { config: { postgres_changes: [{ event: "*", schema: "public", table: "rows" }] } });
  await systemOf(socket, "Subscribed to PostgreSQL");
  return socket;
}
const send = (socket: RawSocket, event: string, payload: object): void =>
  socket.send(["1", "1", topic, event, payload]);
const systemOf = (socket: RawSocket, message: string): Promise<Frame> =>
  socket.next((frame) => {
    const [, , , event, payload] = frame as Frame;
    return event === "system" && String(payload["message"]).startsWith(message);
  }, message) as Promise<Frame>;
const ids = ({ frames }: RawSocket): number[] =>
  (frames as Frame[])
    .filter(([, , , event]) => event === "postgres_changes")
    .map(([, , , , payload]) => (payload["data"] as { record: { id: number } }).record.id);
const untilId = (socket: RawSocket, id: number): Promise<unknown> =>
  waitUntil(() => ids(socket).includes(id), { what: `row ${id}, ${ids(socket).at(-1)} so far` });
const firstOfEach = (numbers: readonly number[]): number[] => [...new Set(numbers)];

interface AnyChannel {
  on(...args: unknown[]): unknown;
  subscribe(): unknown;
}
type AnyClientClass = new (
  url: string,
  options: Record<string, unknown>,
) => { connect(): void; disconnect(): unknown; channel(topic: string): AnyChannel };

const versions = ["1.3.3", "1.7.5", "2.0.0", "2.10.0", "2.119.0"] as const;

/** A published client as it is, with one more connection parameter; `received` is what its callback got. */
function connectStock(version: (typeof versions)[number], url: string) {
  const { RealtimeClient } = require(`realtime-js-${version}`) as { RealtimeClient: AnyClientClass };
  const logger = (): void => undefined;
  const client = new RealtimeClient(url, { params: { apikey: "any", resume: randomUUID() }, logger });
  cleanups.push(() => void client.disconnect());
  client.connect();
  const received: number[] = [];
  let subscribed = 0;
  const isLegacy = version.startsWith("1.");
  const channel = client.channel(isLegacy ? "realtime:public:rows" : "rows");
  const take = (change: { new?: { id: number }; record?: { id: number } }): void =>
    void received.push(Number((change.new ?? change.record)?.id));
  const hear = ({ message }: { message: string }): void =>
    void (subscribed += Number(message.startsWith("Subscribed")));
  if (isLegacy) {
    channel.on("INSERT", take);
    channel.on("system", hear);
  } else {
    channel.on("postgres_changes", { event: "INSERT", schema: "public", table: "rows" }, take);
    channel.on("system", {}, hear);
  }
  channel.subscribe();
  return { version, received, subscribed: () => subscribed };
}

it("published clients without any code of ours miss nothing while their gateways are killed", async () => {
  const cluster = await start({}, 2);
  const running: RunningService[] = [...cluster.gateways];
  const balancer = await startBalancer(() =>
    running.filter(({ process }) => process.isRunning).map(({ port }) => port),
  );
  cleanups.push(() => balancer.stop());
  const url = `ws://127.0.0.1:${balancer.port}/socket`;
  // Two of each, so that some are on either gateway.
  const clients = [...versions, ...versions].map((version) => connectStock(version, url));
  await waitUntil(() => clients.every(({ subscribed }) => subscribed() > 0), { what: "all to be subscribed" });
  let last = 0;
  let isWriting = true;
  const writing = (async () => {
    while (isWriting) await insert(cluster, ++last);
  })();
  for (let round = 0; round < 4; round++) {
    const before = last;
    await waitUntil(() => last > before + 150, { what: "rows to be written" });
    const times = clients.map(({ subscribed }) => subscribed());
    await running.shift()?.process.kill9();
    running.push(await cluster.addGateway());
    await untilHealthy(running.at(-1) ?? fail());
    await waitUntil(() => clients.filter(({ subscribed }, i) => subscribed() > (times[i] ?? 0)).length >= 3, {
      what: "those who were cut off to come back",
      timeoutMs: 60_000,
    });
  }
  isWriting = false;
  await writing;
  await waitUntil(() => clients.every(({ received }) => received.includes(last)), {
    what: `row ${last} at all clients: ${clients.map(({ version, received }) => `${version} ${received.at(-1)}`).join(", ")}`,
    timeoutMs: 60_000,
  });
  for (const { version, received } of clients) {
    expect({ version, received: firstOfEach(received) }).toEqual({ version, received: range(1, last) });
    // It was cut off, and what came twice is a second or two of changes and not everything.
    expect(received.length).toBeLessThan(2 * last);
  }
  expect(clients.some(({ received }) => received.length > last)).toBe(true);
}, 240_000);
const fail = (): never => {
  throw new Error("there is no such gateway");
};

it("a channel of an id continues on another gateway, also where nothing has arrived yet", async () => {
  const cluster = await start();
  await insert(cluster, 0);
  const id = randomUUID();
  await join(cluster, id);
  await cluster.gateways[0]?.process.kill9();
  await insert(cluster, 1, 50);
  const second = await cluster.addGateway({ PORT: String(cluster.gateways[0]?.port) });
  await untilHealthy(second);
  const again = await join(cluster, id);
  await systemOf(again, "Resumed");
  await insert(cluster, 51);
  await untilId(again, 51);
  expect(ids(again).filter((one) => one > 0)).toEqual(range(1, 51));
  const stranger = await join(cluster, randomUUID());
  await insert(cluster, 52);
  await untilId(stranger, 52);
  expect(ids(stranger)).toEqual([52]);
});

it("who reads too slowly is closed with 1013, comes back and misses nothing", async () => {
  const cluster = await start({ OUTBOX_LIMIT_BYTES: "65536" });
  const id = randomUUID();
  const slow = await join(cluster, id);
  await insert(cluster, 1);
  await untilId(slow, 1);
  slow.pause();
  // More than its outbox and the kernel's buffers take.
  for (let first = 2; first < 402; first += 20) await insert(cluster, first, first + 19, 100_000);
  await waitUntil(async () => (await metric(cluster, "walcast_gateway_slow_consumers_total")) > 0, {
    what: "the slow one to be let go",
  });
  slow.resume();
  expect((await slow.close).code).toBe(1013);
  const again = await join(cluster, id);
  await insert(cluster, 402);
  await untilId(again, 402);
  expect(firstOfEach([...ids(slow), ...ids(again)])).toEqual(range(1, 402));
}, 60_000);

it("a channel that was left begins at the present", async () => {
  const cluster = await start();
  const socket = await join(cluster, randomUUID());
  await insert(cluster, 1);
  await untilId(socket, 1);
  await socket.pinged(1);
  send(socket, "phx_leave", {});
  await insert(cluster, 2);
  const other = await join(cluster, randomUUID());
  await insert(cluster, 3);
  await untilId(other, 3);
  send(socket, "phx_join", { config: { postgres_changes: [{ event: "*", schema: "public", table: "rows" }] } });
  await waitUntil(
    () => socket.frames.filter((frame) => String((frame as Frame)[4]["message"]).startsWith("Subscr")).length > 1,
    {
      what: "it to be subscribed again",
    },
  );
  await insert(cluster, 4);
  await untilId(socket, 4);
  expect(ids(socket)).toEqual([1, 4]);
});

it("without Redis clients are told what is not known, and everything else goes on", async () => {
  const redis = await startRedis();
  cleanups.push(() => redis.stop());
  const cluster = await start({ REDIS_URL: redis.url });
  const id = randomUUID();
  const socket = await join(cluster, id);
  await redis.kill9();
  const again = await join(cluster, id);
  expect((await systemOf(again, "ResumeUnknown"))[4]).toMatchObject({ extension: "resume", status: "error" });
  await insert(cluster, 1, 3);
  for (const one of [socket, again]) {
    await untilId(one, 3);
    expect(ids(one)).toEqual([1, 2, 3]);
  }
  const failures = 'walcast_gateway_resume_place_failures_total{operation="claim"}';
  expect(await metric(cluster, failures)).toBe(1);
  await redis.restart();
  await waitUntil(async () => (await healthz(cluster)).includes('"resume ids":"ok"'), { what: "places to be noted" });
  again.end();
  await insert(cluster, 4);
  const back = await join(cluster, id);
  await untilId(back, 4);
  expect(ids(back).at(-1)).toBe(4);
});

it("an id that cannot be one is refused with what it should be", async () => {
  const cluster = await start();
  const { status, body } = await refusedUpgrade(cluster.url, { vsn: "2.0.0", resume: "me" });
  expect([status, body]).toEqual([400, expect.stringContaining("InvalidResumeId: resume must be 16 to 128")]);
});

const httpOf = ({ url }: Cluster): string => url.replace("ws:", "http:").replace("/socket", "");
const healthz = async (cluster: Cluster): Promise<string> => (await fetch(`${httpOf(cluster)}/healthz`)).text();
async function metric(cluster: Cluster, name: string): Promise<number> {
  const text = await (await fetch(`${httpOf(cluster)}/metrics`)).text();
  const line = text.split("\n").find((one) => one.startsWith(`${name} `));
  return Number(line?.split(" ").at(-1) ?? 0);
}
