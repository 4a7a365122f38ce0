import { once } from "node:events";
import { waitUntil } from "@walcast/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from "vitest";
import { WebSocket } from "ws";
import { startCluster, untilHealthy, type Cluster, type RunningService } from "./cluster.ts";
import { connectClient } from "./realtime-clients.ts";
import { openRaw, refusedUpgrade, type RawSocket } from "./raw-socket.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    env: { REDIS_URL: inject("redisUrl") },
  });
  await cluster.sql.query("CREATE TABLE todos (id int PRIMARY KEY)");
});
afterAll(() => cluster.stop());

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

/** A part of Redis where nobody else counts. */
let databases = 0;
const countingApart = (): { readonly REDIS_URL: string } => ({ REDIS_URL: `${inject("redisUrl")}/${++databases}` });

/** One more gateway. */
async function add(env: Readonly<Record<string, string>>): Promise<RunningService> {
  const gateway = await cluster.addGateway(env);
  ends.push(() => gateway.process.stop());
  await untilHealthy(gateway);
  return gateway;
}
const urlOf = ({ port }: RunningService): string => `ws://127.0.0.1:${port}/socket`;
async function open(gateway: RunningService): Promise<RawSocket> {
  const socket = await openRaw(urlOf(gateway), { vsn: "2.0.0", apikey: "any" });
  ends.push(() => socket.end());
  return socket;
}

let refs = 0;
/** Sends a frame and resolves with the payload of its answer. */
async function ask(socket: RawSocket, topic: string, event: string, payload: object): Promise<unknown> {
  const ref = `r${++refs}`;
  socket.send(["1", ref, topic, event, payload]);
  const reply = await socket.next((frame) => (frame as unknown[])[1] === ref, `the answer to ${event}`);
  return (reply as unknown[])[4];
}
const join = (socket: RawSocket, topic = "realtime:room", config: object = {}): Promise<unknown> =>
  ask(socket, topic, "phx_join", { config });
const settled = (socket: RawSocket): Promise<unknown> => ask(socket, "realtime:nowhere", "settled", {});
const ok = { status: "ok", response: {} };
const joined = { status: "ok", response: { postgres_changes: [] } };
const refusal = (reason: string): object => ({ status: "error", response: { reason } });

/** What ended a channel, as its client is told it: a system message, then the close. */
async function ended(socket: RawSocket, topic = "realtime:room"): Promise<unknown> {
  await socket.next((frame) => isOf(frame, topic, "phx_close"), `the end of ${topic}`);
  const [system, close] = socket.frames.filter(
    (frame) => isOf(frame, topic, "system") || isOf(frame, topic, "phx_close"),
  );
  expect(close).toEqual(["1", "1", topic, "phx_close", {}]);
  return (system as unknown[])[4];
}
const isOf = (frame: unknown, topic: string, event: string): boolean =>
  (frame as unknown[])[2] === topic && (frame as unknown[])[3] === event;
const shutdown = (message: string): object => ({ extension: "system", status: "error", message, channel: "room" });

async function metric({ port }: RunningService, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  return Number(
    text
      .split("\n")
      .find((line) => line.startsWith(`${name} `))
      ?.split(" ")
      .at(-1) ?? 0,
  );
}
const met = (gateway: RunningService, limit: string): Promise<number> =>
  metric(gateway, `walcast_gateway_limits_exceeded_total{limit="${limit}"}`);

describe("presence", () => {
  it("ends a channel with the sixth call in 30 seconds, by default, and no other channel", async () => {
    const [gateway] = cluster.gateways;
    if (gateway === undefined) throw new Error("a gateway was started");
    const socket = await open(gateway);
    for (const topic of ["realtime:room", "realtime:other"]) expect(await join(socket, topic)).toEqual(joined);
    const track = (n: number): object => ({ type: "presence", event: "track", payload: { n } });
    for (let n = 1; n <= 5; n++) expect(await ask(socket, "realtime:room", "presence", track(n))).toEqual(ok);
    socket.send(["1", "sixth", "realtime:room", "presence", track(6)]);
    expect(await ended(socket)).toEqual(shutdown("Client presence rate limit exceeded"));
    expect(await ask(socket, "realtime:other", "presence", track(1))).toEqual(ok);
    expect(socket.frames.filter((frame) => (frame as unknown[])[1] === "sixth")).toEqual([]);
    expect(await met(gateway, "presenceCalls")).toBe(1);
    // It may be joined again, and counts anew.
    expect(await join(socket)).toEqual(joined);
    expect(await ask(socket, "realtime:room", "presence", track(1))).toEqual(ok);
  });

  it("ends a channel that tracks too much at once", async () => {
    const gateway = await add({ MAX_PAYLOAD_KB: "1" });
    const socket = await open(gateway);
    await join(socket);
    const track = (size: number): object => ({ type: "presence", event: "track", payload: { x: "x".repeat(size) } });
    expect(await ask(socket, "realtime:room", "presence", track(1_400))).toEqual(ok);
    socket.send(["1", "large", "realtime:room", "presence", track(1_500)]);
    expect(await ended(socket)).toEqual(shutdown("Track message size exceeded"));
    expect(await met(gateway, "trackSize")).toBe(1);
  });

  it("ends a channel where too many presence messages go", async () => {
    const gateway = await add({ TENANT_MAX_PRESENCE_EVENTS_PER_SECOND: "2", CLIENT_PRESENCE_MAX_CALLS: "0" });
    const [socket, quiet] = [await open(gateway), await open(gateway)];
    for (const one of [socket, quiet]) await join(one, "realtime:room", { presence: { enabled: true } });
    let sent = 0;
    await waitUntil(
      () => {
        socket.send(["1", `t${++sent}`, "realtime:room", "presence", { event: "track", payload: { sent } }]);
        return socket.frames.some((frame) => isOf(frame, "realtime:room", "phx_close"));
      },
      { what: "the limit" },
    );
    expect(await ended(socket)).toEqual(shutdown("Too many presence messages per second"));
    await settled(quiet);
    expect(quiet.frames.some((frame) => isOf(frame, "realtime:room", "phx_close"))).toBe(false);
    expect(await met(gateway, "presenceEvents")).toBe(1);
  });
});

describe("messages per second", () => {
  it("count what is delivered, end who sends, in all gateways, and hold back no change", async () => {
    const env = { TENANT_MAX_EVENTS_PER_SECOND: "20", ...countingApart() };
    const [here, there] = [await add(env), await add(env)];
    const [sender, far] = [await open(here), await open(there)];
    const receivers = await Promise.all(Array.from({ length: 9 }, () => open(here)));
    for (const socket of [sender, far, ...receivers]) await join(socket);
    const changes = connectClient("2.119.0", urlOf(here));
    ends.push(() => changes.disconnect());
    const subscription = changes.subscribe({ table: "todos" });
    await waitUntil(() => subscription.system.length > 0, { what: "the subscription" });
    // One sent and nine delivered here make ten; five seconds of twenty are a hundred.
    await waitUntil(
      () => {
        sender.send(["1", "b", "realtime:room", "broadcast", {}]);
        return sender.frames.some((frame) => isOf(frame, "realtime:room", "phx_close"));
      },
      { what: "the limit" },
    );
    expect(await ended(sender)).toEqual(shutdown("Too many messages per second"));
    for (const socket of receivers) await settled(socket);
    const heard = receivers.map(
      ({ frames }) => frames.filter((frame) => isOf(frame, "realtime:room", "broadcast")).length,
    );
    expect(new Set(heard).size).toBe(1);
    expect(heard[0]).toBeGreaterThanOrEqual(10);
    // The average falls with every five seconds, so more is sent until all that is to be seen was seen.
    const message = { topic: "room", event: "e", payload: {} };
    const body = JSON.stringify({ messages: Array.from({ length: 10 }, () => message) });
    const statuses = new Set<number>();
    await waitUntil(
      async () => {
        statuses.add((await fetch(`http://127.0.0.1:${here.port}/api/broadcast`, { method: "POST", body })).status);
        far.send(["1", "f", "realtime:room", "nothing", {}]);
        return statuses.has(429) && far.frames.some((frame) => isOf(frame, "realtime:room", "phx_close"));
      },
      { what: "HTTP and the other gateway to refuse" },
    );
    await cluster.sql.query("INSERT INTO todos SELECT generate_series(1, 1000)");
    await waitUntil(() => subscription.changes.length === 1_000, { what: "all changes" });
    expect(subscription.statuses).toEqual(["SUBSCRIBED"]);
    expect(await met(here, "events")).toBeGreaterThan(0);
  });
});

describe("joins", () => {
  it("beyond a rate are refused, the socket is closed with 1001, and no other one is opened", async () => {
    const gateway = await add({ TENANT_MAX_JOINS_PER_SECOND: "2", ...countingApart() });
    const socket = await open(gateway);
    let joins = 0;
    const last = await waitUntil(
      async () => {
        const answer = await join(socket, `realtime:${++joins}`);
        return JSON.stringify(answer) !== JSON.stringify(joined) && answer;
      },
      { what: "the limit" },
    );
    expect(joins).toBeGreaterThan(10); // two a second for five seconds
    expect(last).toEqual(refusal("ClientJoinRateLimitReached: Too many joins per second"));
    expect((await socket.close).code).toBe(1001);
    expect(await refusedUpgrade(urlOf(gateway), { apikey: "any" })).toEqual({
      status: 429,
      body: '{"error":"Too many joins per second"}',
    });
    expect(await met(gateway, "joins")).toBe(2);
  });

  it("beyond the channels of one connection are refused, and joining anew is not", async () => {
    const gateway = await add({ TENANT_MAX_CHANNELS_PER_CLIENT: "2" });
    const socket = await open(gateway);
    for (const topic of ["realtime:1", "realtime:2", "realtime:2"]) expect(await join(socket, topic)).toEqual(joined);
    expect(await join(socket)).toEqual(refusal("ChannelRateLimitReached: Too many channels"));
    await ask(socket, "realtime:1", "phx_leave", {});
    expect(await join(socket)).toEqual(joined);
    expect(await met(gateway, "channels")).toBe(1);
  });

  it("are a hundred for one connection by default", async () => {
    const [gateway] = cluster.gateways;
    if (gateway === undefined) throw new Error("a gateway was started");
    const socket = await open(gateway);
    for (let n = 0; n < 100; n++) expect(await join(socket, `realtime:${n}`)).toEqual(joined);
    expect(await join(socket)).toEqual(refusal("ChannelRateLimitReached: Too many channels"));
  });

  it("of more users than there may be are refused, counted over all gateways", async () => {
    const env = { TENANT_MAX_CONCURRENT_USERS: "3", ...countingApart() };
    const [here, there] = [await add(env), await add(env)];
    const users = [await open(here), await open(here), await open(there)];
    const idle = await open(here);
    for (const socket of users) expect(await join(socket)).toEqual(joined);
    const tooMany = refusal("ConnectionRateLimitReached: Too many connected users");
    await waitUntil(
      async () => {
        const answer = await join(idle);
        await ask(idle, "realtime:room", "phx_leave", {});
        return JSON.stringify(answer) === JSON.stringify(tooMany);
      },
      { what: "the count of the other gateway", intervalMs: 200 },
    );
    expect(await join(idle)).toEqual(tooMany);
    expect(await join(users[0] ?? idle, "realtime:more")).toEqual(joined);
    expect(await refusedUpgrade(urlOf(here), { apikey: "any" })).toEqual({
      status: 429,
      body: '{"error":"Too many connected users"}',
    });
    users[2]?.end();
    await waitUntil(async () => JSON.stringify(await join(idle)) === JSON.stringify(joined), { what: "a free place" });
  });
});

describe("connections", () => {
  it("beyond those of a gateway are refused", async () => {
    const gateway = await add({ MAX_CONNECTIONS: "2" });
    const [one] = [await open(gateway), await open(gateway)];
    expect(await refusedUpgrade(urlOf(gateway), { apikey: "any" })).toEqual({
      status: 503,
      body: '{"error":"Too many connections to this server"}',
    });
    one.end();
    await one.close;
    await waitUntil(() => open(gateway), { what: "a free place" });
  });

  it("that have had channels and have none any more are closed after a while, others stay", async () => {
    const gateway = await add({ NO_CHANNEL_TIMEOUT_IN_MS: "1000" });
    const [left, refused, staying] = [await open(gateway), await open(gateway), await open(gateway)];
    for (const socket of [left, staying]) await join(socket);
    await join(refused, "realtime:");
    await ask(left, "realtime:room", "phx_leave", {});
    expect(await left.close).toEqual({ code: 1000, reason: "no channel for a long time" });
    for (const socket of [refused, staying]) await settled(socket);
  });

  it("and joins that are refused are answered later, where that is wanted, and nothing waits behind them", async () => {
    const env = { CHANNEL_ERROR_BACKOFF_MS: "1500", CONNECT_ERROR_BACKOFF_MS: "300", MAX_CONNECTIONS: "1" };
    const gateway = await add(env);
    const socket = await open(gateway);
    const startedAt = performance.now();
    const refused = join(socket, "realtime:");
    expect(await join(socket)).toEqual(joined);
    await settled(socket);
    expect(socket.frames).toHaveLength(2);
    expect(await refused).toEqual(refusal("TopicNameRequired: You must provide a topic name"));
    expect(performance.now() - startedAt).toBeGreaterThan(1_400);
    const secondAt = performance.now();
    expect((await refusedUpgrade(urlOf(gateway), { apikey: "any" })).status).toBe(503);
    expect(performance.now() - secondAt).toBeGreaterThan(250);
  });
});

describe("a client that reads too slowly", () => {
  const padding = "x".repeat(100_000);
  /** Joins, then stops reading; `numbers` are of the broadcasts it got. */
  async function stopReading(gateway: RunningService): Promise<{ socket: WebSocket; numbers: number[] }> {
    const socket = new WebSocket(`${urlOf(gateway)}/websocket?vsn=2.0.0`);
    ends.push(() => socket.terminate());
    const numbers: number[] = [];
    const opened = once(socket, "open");
    const answered = once(socket, "message");
    await opened;
    socket.send(JSON.stringify(["1", "1", "realtime:room", "phx_join", { config: {} }]));
    await answered;
    socket.on("message", (data: Buffer) => {
      const [, , , event, payload] = JSON.parse(data.toString("utf8")) as [0, 0, 0, string, { n: number }];
      if (event === "broadcast") numbers.push(payload.n);
    });
    socket.pause();
    return { socket, numbers };
  }
  const inOrder = (numbers: readonly number[]): number[] => numbers.map((_, n) => n);

  it("gets all that came before, then 1013, and others get everything", async () => {
    const gateway = await add({ OUTBOX_LIMIT_BYTES: "1048576" });
    const [sender, reader] = [await open(gateway), await open(gateway)];
    const { socket, numbers } = await stopReading(gateway);
    for (const one of [sender, reader]) await join(one);
    let sent = 0;
    await waitUntil(
      async () => {
        for (let n = 0; n < 5; n++) sender.send(["1", "b", "realtime:room", "broadcast", { n: sent++, padding }]);
        await settled(sender);
        return (await metric(gateway, "walcast_gateway_slow_consumers_total")) > 0;
      },
      { what: "the gateway to let it go" },
    );
    for (let n = 0; n < 20; n++) sender.send(["1", "b", "realtime:room", "broadcast", { n: sent++, padding }]);
    await settled(sender);
    expect(await metric(gateway, "walcast_gateway_channels")).toBe(2);
    const closed = once(socket, "close");
    socket.resume();
    const [code, reason] = (await closed) as [number, Buffer];
    expect([code, String(reason)]).toEqual([1013, "too slow: come back"]);
    expect(numbers.length).toBeGreaterThan(10);
    expect(numbers).toEqual(inOrder(numbers));
    expect(numbers.length).toBeLessThan(sent);
    const heard = (): unknown[] => reader.frames.filter((frame) => isOf(frame, "realtime:room", "broadcast"));
    await waitUntil(() => heard().length === sent, { what: "the other one to get all" });
    expect(await metric(gateway, "walcast_gateway_slow_consumers_total")).toBe(1);
    expect(await metric(gateway, "walcast_gateway_connections")).toBe(2);
  });

  it("and never reads again is cut, and gives its memory back", async () => {
    const gateway = await add({ OUTBOX_LIMIT_BYTES: "1048576" });
    const sender = await open(gateway);
    await stopReading(gateway);
    await join(sender);
    await waitUntil(
      async () => {
        for (let n = 0; n < 5; n++) sender.send(["1", "b", "realtime:room", "broadcast", { n, padding }]);
        await settled(sender);
        return (await metric(gateway, "walcast_gateway_slow_consumers_total")) > 0;
      },
      { what: "the gateway to let it go" },
    );
    await waitUntil(async () => (await metric(gateway, "walcast_gateway_connections")) === 1, {
      what: "it to be cut",
      timeoutMs: 20_000,
    });
    expect(await metric(gateway, "walcast_gateway_channels")).toBe(1);
  });

  it("while very much is sent at once gets a beginning without a gap, and is closed", async () => {
    const gateway = await add({ OUTBOX_LIMIT_BYTES: "65536" });
    const sender = await open(gateway);
    const { socket, numbers } = await stopReading(gateway);
    await join(sender);
    const large = "x".repeat(2_900_000);
    for (let n = 0; n < 30; n++) sender.send(["1", "b", "realtime:room", "broadcast", { n, large }]);
    await settled(sender);
    await waitUntil(async () => (await metric(gateway, "walcast_gateway_slow_consumers_total")) > 0, {
      what: "the limit",
    });
    sender.send(["1", "b", "realtime:room", "broadcast", { n: 30 }]);
    await settled(sender);
    const closed = once(socket, "close");
    socket.resume();
    const [code] = (await closed) as [number];
    expect([1006, 1013]).toContain(code);
    expect(numbers).toEqual(inOrder(numbers));
    expect(numbers.length).toBeLessThan(31);
    expect(await metric(gateway, "walcast_gateway_slow_consumers_total")).toBe(1);
  });
});
