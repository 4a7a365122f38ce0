import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { resumable, type Gap } from "@walcast/client";
import { startProxy, waitUntil } from "@walcast/testkit";
import { afterEach, expect, inject, it } from "vitest";
import { startCluster, untilHealthy, type Cluster } from "./cluster.ts";
import { openRaw, type RawSocket } from "./raw-socket.ts";
import { clientVersions, type ClientVersion } from "./realtime-clients.ts";

const require = createRequire(import.meta.url);
const cleanups: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function start(env: Record<string, string> = {}): Promise<Cluster> {
  const cluster = await startCluster({ postgresUrl: inject("postgresUrl"), natsUrl: inject("natsUrl"), env });
  cleanups.push(() => cluster.stop());
  await cluster.sql.query("CREATE TABLE rows (id int PRIMARY KEY, note text)");
  return cluster;
}

const insert = (cluster: Cluster, from: number, to: number, bytes = 10): Promise<unknown> =>
  cluster.sql.query("INSERT INTO rows SELECT i, repeat('x', $3) FROM generate_series($1::int, $2::int) AS i", [
    from,
    to,
    bytes,
  ]);

type Frame = readonly [unknown, unknown, string, string, Record<string, unknown>];
const topic = "realtime:rows";
const bindings = [{ event: "*", schema: "public", table: "rows" }];

async function join(url: string, config: object): Promise<RawSocket> {
  const socket = await openRaw(url, { vsn: "2.0.0" });
  cleanups.push(() => socket.end());
  socket.send(["1", "1", topic, "phx_join", { config: { postgres_changes: bindings, ...config } }]);
  await socket.next((frame) => (frame as Frame)[3] === "phx_reply", "the answer to the join");
  return socket;
}

const systemOf = (socket: RawSocket, extension: string): Promise<Frame> =>
  socket.next(
    (frame) => (frame as Frame)[3] === "system" && (frame as Frame)[4]["extension"] === extension,
    `a system message of ${extension}`,
  ) as Promise<Frame>;

interface Data {
  readonly position: string;
  readonly record: { readonly id: number };
}
const changesOf = ({ frames }: RawSocket): Data[] =>
  (frames as Frame[]).filter(([, , , event]) => event === "postgres_changes").map((frame) => frame[4]["data"] as Data);
const ids = (socket: RawSocket): number[] => changesOf(socket).map(({ record }) => record.id);
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const untilIds = (socket: RawSocket, count: number): Promise<unknown> =>
  waitUntil(() => ids(socket).length >= count, { what: `${count} changes, ${ids(socket).length} so far` });

it.each([
  ["the memory of the same gateway", "33554432"],
  ["the log", "1048576"],
])("a join with a position gets what it missed from %s, and goes on live", async (_, memory) => {
  const cluster = await start({ RESUME_MEMORY_BYTES: memory });
  const socket = await join(cluster.url, {});
  await systemOf(socket, "postgres_changes");
  await insert(cluster, 1, 10);
  await untilIds(socket, 10);
  const from = changesOf(socket)[4]?.position;
  socket.end();
  await insert(cluster, 11, 3_000, 1_000); // three megabytes
  const again = await join(cluster.url, { resume: { from } });
  expect((await systemOf(again, "postgres_changes"))[4]).toMatchObject({ position: from });
  expect((await systemOf(again, "resume"))[4]).toMatchObject({ status: "ok", message: "Resumed" });
  await insert(cluster, 3_001, 3_010);
  await untilIds(again, 3_005);
  expect(ids(again)).toEqual(range(6, 3_010));
  expect(changesOf(again)[0]).toMatchObject(changesOf(socket)[5] ?? {});
});

it("another gateway continues where the first one was killed, also for a legacy join", async () => {
  const cluster = await start();
  const second = await cluster.addGateway();
  await untilHealthy(second);
  const socket = await join(cluster.url, {});
  const { position } = (await systemOf(socket, "postgres_changes"))[4];
  await cluster.gateways[0]?.process.kill9();
  await insert(cluster, 1, 50);
  const url = `ws://127.0.0.1:${second.port}/socket`;
  const again = await join(url, { resume: { from: position } });
  await untilIds(again, 50);
  expect(ids(again)).toEqual(range(1, 50));
  const legacy = await openRaw(url, { vsn: "1.0.0" });
  cleanups.push(() => legacy.end());
  const payload = { resume: position };
  legacy.send({ topic: "realtime:public:rows", event: "phx_join", payload, ref: "1" });
  const received = () =>
    (legacy.frames as { event: string; payload: Data }[]).filter(({ event }) => event === "INSERT");
  await waitUntil(() => received().length === 50, { what: "the legacy channel to catch up" });
  expect(received().map(({ payload: { record } }) => record.id)).toEqual(range(1, 50));
});

it("a position that the log does not hold any more is told, and what there is follows", async () => {
  const cluster = await start({ LOG_RETENTION_BYTES: "1048576", RESUME_MEMORY_BYTES: "1048576" });
  const socket = await join(cluster.url, {});
  await systemOf(socket, "postgres_changes");
  await insert(cluster, 1, 1);
  await untilIds(socket, 1);
  const from = changesOf(socket)[0]?.position;
  for (let last = 1; last < 4_001; last += 200) {
    await insert(cluster, last + 1, last + 200, 1_000);
    await untilIds(socket, last + 200); // the gateway itself must not fall behind the log
  }
  const again = await join(cluster.url, { resume: { from } });
  const gap = (await systemOf(again, "resume"))[4];
  expect(gap).toMatchObject({ status: "error", message: expect.stringMatching(/^ResumeGap: /) as unknown });
  await insert(cluster, 20_000, 20_000);
  await waitUntil(() => ids(again).at(-1) === 20_000, { what: "the newest row" });
  const received = ids(again);
  expect(received.slice(0, -1)).toEqual(range(received[0] ?? 0, 4_001));
  const behindGap = await join(cluster.url, { resume: { from: gap["position"] } });
  expect((await systemOf(behindGap, "resume"))[4]).toMatchObject({ status: "ok" });
  expect(ids(behindGap)).toEqual(received);
});

it("a position that is none is refused with what it should be", async () => {
  const cluster = await start();
  const socket = await join(cluster.url, { resume: { from: "yesterday" } });
  expect((socket.frames as Frame[])[0]?.[4]).toEqual({
    status: "error",
    response: { reason: expect.stringContaining('InvalidResumePosition: "yesterday"') as unknown },
  });
});

interface AnyChannel {
  readonly state: string;
  on(...args: unknown[]): unknown;
  subscribe(): unknown;
}
type AnyClientClass = new (
  url: string,
  options: Record<string, unknown>,
) => { connect(): void; disconnect(): unknown; channel(topic: string): AnyChannel };

const platformWebSocket = globalThis.WebSocket;
afterEach(() => void (globalThis.WebSocket = platformWebSocket));

type Log = (kind: string, message: string) => void;

/** A published client with the add-on; `received` is what its callback got. */
function connectResumable(
  version: ClientVersion,
  url: string,
  given: { readonly timeout?: number; readonly reconnectAfterMs?: () => number; readonly logger?: Log } = {},
): { received: number[]; gaps: Gap[]; isReady(): boolean; readonly isJoined: () => boolean } {
  const { RealtimeClient } = require(`realtime-js-${version}`) as { RealtimeClient: AnyClientClass };
  const gaps: Gap[] = [];
  const resuming = resumable({ onGap: (gap) => gaps.push(gap), WebSocket: platformWebSocket });
  const { transport } = resuming;
  // This one never listens to a transport that it is given (its own defect).
  if (version === "2.10.0") globalThis.WebSocket = transport as typeof WebSocket;
  const options = version === "2.10.0" ? {} : { transport };
  const client = new RealtimeClient(url, { ...options, ...given, params: { apikey: "any" } });
  cleanups.push(() => void client.disconnect());
  client.connect();
  const received: number[] = [];
  const isLegacy = version.startsWith("1.");
  const channel = client.channel(isLegacy ? "realtime:public:rows" : "rows");
  const take = (change: { new?: { id: number }; record?: { id: number } }): void =>
    void received.push(Number((change.new ?? change.record)?.id));
  if (isLegacy) channel.on("INSERT", take);
  else channel.on("postgres_changes", { event: "INSERT", schema: "public", table: "rows" }, take);
  channel.subscribe();
  const wireTopic = isLegacy ? "realtime:public:rows" : topic;
  return {
    received,
    gaps,
    isReady: () => resuming.position(wireTopic) !== undefined,
    isJoined: () => channel.state === "joined",
  };
}

it("published clients with the add-on miss nothing and get nothing twice while gateways are killed", async () => {
  const cluster = await start();
  await insert(cluster, 0, 0); // the log has a position to begin from
  const [first] = cluster.gateways;
  const port = String(first?.port);
  const clients = clientVersions.map((version) => ({ version, ...connectResumable(version, cluster.url) }));
  await waitUntil(() => clients.every((client) => client.isReady()), {
    what: "all clients to be subscribed",
  }).catch((cause: unknown) => {
    throw new Error(clients.map((client) => `${client.version} ${client.isReady()}`).join(", "), { cause });
  });
  let last = 0;
  let gateway = first;
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 40; i++) await insert(cluster, ++last, last);
    await gateway?.process.kill9();
    for (let i = 0; i < 40; i++) await insert(cluster, ++last, last);
    gateway = await cluster.addGateway({ PORT: port });
    await untilHealthy(gateway);
    for (let i = 0; i < 40; i++) await insert(cluster, ++last, last);
    await waitUntil(() => clients.every(({ received }) => received.includes(last)), {
      what: `row ${last} at all clients: ${clients.map(({ version, received }) => `${version} ${received.at(-1)}`).join(", ")}`,
      timeoutMs: 60_000,
    });
  }
  for (const { version, received, gaps } of clients) {
    expect({ version, received: received.filter((id) => id > 0), gaps }).toEqual({
      version,
      received: range(1, last),
      gaps: [],
    });
  }
}, 240_000);

it("published clients with the add-on miss nothing when their joins are answered too late", async () => {
  const cluster = await start();
  const proxy = await startProxy({ target: cluster.url });
  cleanups.push(() => void proxy.stop());
  await insert(cluster, 0, 0);
  const clients = clientVersions.map((version) => ({
    version,
    ...connectResumable(version, proxy.url, { timeout: 1_000 }),
  }));
  await waitUntil(() => clients.every((client) => client.isReady()), { what: "all clients to be subscribed" });
  await insert(cluster, 1, 3);
  await waitUntil(() => clients.every(({ received }) => received.includes(3)), { what: "the first rows" });
  proxy.cut();
  await insert(cluster, 4, 6);
  proxy.heal();
  proxy.delay(900); // an answer takes 1,800 ms
  await sleep(6_000); // each has joined, given up, left where it does that, and joined again
  await insert(cluster, 7, 9);
  proxy.heal();
  await waitUntil(() => clients.every(({ received }) => received.includes(9)), {
    what: `the last rows: ${clients.map(({ version, received }) => `${version} ${received.join()}`).join("; ")}`,
    timeoutMs: 60_000,
  });
  for (const { version, received, gaps } of clients) {
    expect({ version, received: received.filter((id) => id > 0), gaps }).toEqual({
      version,
      received: range(1, 9),
      gaps: [],
    });
  }
}, 120_000);

it("published clients come back when they are cut off between a join and its answer, with the options for that", async () => {
  const cluster = await start();
  const proxy = await startProxy({ target: cluster.url });
  cleanups.push(() => void proxy.stop());
  await insert(cluster, 0, 0);
  const clients = clientVersions.map((version) => {
    const joins = { sent: 0 };
    const logger: Log = (_, message) => void (joins.sent += /phx_join/u.test(message) ? 1 : 0);
    // The options of README.md, "Older clients", only shorter.
    const options = { timeout: 1_000, reconnectAfterMs: () => 1_500, logger };
    return { version, joins, ...connectResumable(version, proxy.url, options) };
  });
  await waitUntil(() => clients.every((client) => client.isReady()), { what: "all clients to be subscribed" });
  await insert(cluster, 1, 3);
  await waitUntil(() => clients.every(({ received }) => received.includes(3)), { what: "the first rows" });
  proxy.cut();
  proxy.heal();
  proxy.delay(400); // an answer takes 800 ms
  for (const { joins } of clients) joins.sent = 0;
  await waitUntil(() => clients.every(({ joins }) => joins.sent > 0), { what: "all to join again", intervalMs: 5 });
  proxy.cut();
  proxy.heal();
  await insert(cluster, 4, 6);
  // A channel that the defect befalls gets some rows, too, before it is taken out; it is never joined.
  await waitUntil(() => clients.every(({ received, isJoined }) => received.includes(6) && isJoined()), {
    what: `the last rows: ${clients.map(({ version, received, isJoined }) => `${version} ${isJoined()} ${received.join()}`).join("; ")}`,
    timeoutMs: 60_000,
  });
  for (const { version, received, gaps } of clients) {
    expect({ version, received: received.filter((id) => id > 0), gaps }).toEqual({
      version,
      received: range(1, 6),
      gaps: [],
    });
  }
}, 120_000);
