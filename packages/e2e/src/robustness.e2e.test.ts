import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { startProxy, waitUntil } from "@walcast/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from "vitest";
import { startCluster, untilHealthy, type Cluster, type RunningService } from "./cluster.ts";
import { joinRaw } from "./presence-clients.ts";
import { openRaw, type RawSocket } from "./raw-socket.ts";

// One client's garbage, slowness or absence costs no other client anything, and leaves nothing behind.

let cluster: Cluster;
let gateway: RunningService;
beforeAll(async () => {
  cluster = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    gateways: 0,
    env: { REDIS_URL: inject("redisUrl") },
  });
  gateway = await cluster.addGateway({ IDLE_TIMEOUT_MS: "4000", TENANT_MAX_CHANNELS_PER_CLIENT: "0" });
  await untilHealthy(gateway);
});
afterAll(() => cluster.stop());

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
  // Nothing stays behind.
  for (const name of ["connections", "channels", "rooms", "presence_entries", "groups"])
    await waitUntil(async () => (await metric(`walcast_gateway_${name}`)) === 0, { what: `no ${name}` });
  expect(gateway.process.isRunning).toBe(true);
});

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${gateway.port}/metrics`)).text();
  return Number(
    text
      .split("\n")
      .find((line) => line.startsWith(`${name} `))
      ?.split(" ")
      .at(-1) ?? 0,
  );
}
const base = (): string => `http://127.0.0.1:${gateway.port}`;
async function open(): Promise<RawSocket> {
  const socket = await openRaw(`ws://127.0.0.1:${gateway.port}/socket`, { vsn: "2.0.0" });
  ends.push(() => socket.end());
  return socket;
}

/** Somebody who has nothing to do with it is answered within the time that tests wait for anything. */
async function isAnswered(other: RawSocket): Promise<boolean> {
  const ref = randomBytes(4).toString("hex");
  other.send([null, ref, "phoenix", "heartbeat", {}]);
  await other.next((frame) => (frame as unknown[])[1] === ref, "an answer");
  return true;
}

/** A bare connection; what comes back is of no interest. */
async function bare(): Promise<Socket> {
  const socket = connect(gateway.port, "127.0.0.1");
  socket.on("error", () => undefined);
  socket.resume();
  ends.push(() => socket.destroy());
  await once(socket, "connect");
  return socket;
}
const upgrade = [
  "GET /socket/websocket?vsn=2.0.0 HTTP/1.1",
  "Host: test",
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`,
  "",
  "",
].join("\r\n");
async function bareWebSocket(): Promise<Socket> {
  const socket = await bare();
  socket.write(upgrade);
  await once(socket, "data");
  return socket;
}

/** A frame as a client sends it, masked with zeros. */
function clientFrame(payload: Buffer, opcode: number): Buffer {
  const length = payload.length < 126 ? [payload.length] : [126, payload.length >> 8, payload.length & 255];
  const [first = 0, ...rest] = length;
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | first, ...rest, 0, 0, 0, 0]), payload]);
}
const text = 1;
const binary = 2;
const joinFrame = clientFrame(Buffer.from('["1","1","realtime:cut","phx_join",{"config":{}}]'), text);

describe("what arrives only in part", () => {
  it("is a frame that ends at any byte, with its connection", async () => {
    const other = await open();
    for (let length = 0; length <= joinFrame.length; length++) {
      const socket = await bareWebSocket();
      socket.write(joinFrame.subarray(0, length));
      if (length % 2 === 0) socket.end();
      else socket.resetAndDestroy();
    }
    expect(await isAnswered(other)).toBe(true);
  });

  it("is a frame that comes byte by byte, which is answered all the same", async () => {
    const socket = await bareWebSocket();
    const answered = once(socket, "data") as Promise<[Buffer]>;
    for (const byte of joinFrame) socket.write(Buffer.of(byte));
    expect(String((await answered)[0])).toContain('"phx_reply",{"status":"ok"');
  });

  it("is a request that ends at any byte, or does not end", async () => {
    const other = await open();
    for (let length = 0; length < upgrade.length; length += 3) {
      const socket = await bare();
      socket.write(upgrade.slice(0, length));
      if (length % 2 === 0) socket.resetAndDestroy();
    }
    expect(await isAnswered(other)).toBe(true);
  });
});

describe("what is too much", () => {
  it("is headers without end", async () => {
    const other = await open();
    const socket = await bare();
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write("GET /socket/websocket HTTP/1.1\r\nHost: test\r\n");
    const header = `X-Bomb: ${"x".repeat(8_000)}\r\n`;
    for (let i = 0; i < 200 && !socket.destroyed; i++) socket.write(header);
    await closed;
    expect(await isAnswered(other)).toBe(true);
  });

  it("is a frame that says it is longer than anything", async () => {
    const other = await open();
    const socket = await bareWebSocket();
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(Buffer.from([0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]));
    await closed;
    expect(await isAnswered(other)).toBe(true);
  });

  it("is JSON as deep as a frame allows, wherever it stands", async () => {
    const [socket, other] = [await open(), await open()];
    socket.send(["1", "1", "realtime:deep", "phx_join", { config: {} }]);
    await socket.next(() => true, "the join");
    socket.sendText(`${"[".repeat(500_000)}${"]".repeat(500_000)}`);
    expect(await isAnswered(other)).toBe(true);
    for (const depth of [1_000, 10_000, 100_000]) {
      const deep = `${"[".repeat(depth)}${"]".repeat(depth)}`;
      const objects = `${'{"a":'.repeat(depth / 2)}1${"}".repeat(depth / 2)}`;
      for (const value of [deep, objects]) {
        socket.sendText(value);
        socket.sendText(`["1","2","realtime:deep","phx_join",{"config":${value}}]`);
        socket.sendText(`["1","3","realtime:deep","broadcast",{"payload":${value}}]`);
        socket.sendText(`["1","4","realtime:deep","presence",{"event":"track","payload":{"a":${value}}}]`);
        socket.sendText(`["1",${value},"phoenix","heartbeat",{}]`);
      }
    }
    expect(await isAnswered(other)).toBe(true);
    expect(await isAnswered(socket)).toBe(true);
  });

  it("is bytes that are no text", async () => {
    const other = await open();
    for (const opcode of [text, binary]) {
      for (const bytes of [
        [0xff],
        [0xc3],
        [0xed, 0xa0, 0x80],
        [0xf8, 0x88, 0x80, 0x80, 0x80],
        [...randomBytes(1_000)],
      ]) {
        const socket = await bareWebSocket();
        socket.write(clientFrame(Buffer.from(bytes), opcode));
      }
    }
    for (let opcode = 0; opcode < 16; opcode++) {
      const socket = await bareWebSocket();
      socket.write(clientFrame(Buffer.from("x"), opcode));
    }
    expect(await isAnswered(other)).toBe(true);
  });

  it("is joins and leaves without a pause", async () => {
    const [socket, other] = [await open(), await open()];
    const count = 5_000;
    for (let n = 0; n < count; n++) {
      const topic = `realtime:${n % 500}`;
      socket.send([`j${n}`, `r${n}`, topic, "phx_join", { config: { presence: { enabled: true } } }]);
      if (n % 3 === 0) socket.send([`j${n}`, `l${n}`, topic, "phx_leave", {}]);
    }
    expect(await isAnswered(other)).toBe(true);
    await socket.next((frame) => (frame as unknown[])[1] === `r${count - 1}`, "the last join");
    const replies = socket.frames.filter((frame) => String((frame as unknown[])[1]).startsWith("r"));
    expect(replies).toHaveLength(count);
  });
});

it("connections that nobody is at the other end of any more are closed, and their members leave", async () => {
  const proxy = await startProxy({ target: base() });
  ends.push(() => proxy.stop());
  const watcher = await joinRaw(base(), "half open", "");
  ends.push(() => watcher.end());
  const lost = await Promise.all(
    Array.from({ length: 20 }, (_, i) => joinRaw(`http://127.0.0.1:${proxy.port}`, "half open", `u${i}`)),
  );
  for (const member of lost) member.track({});
  await waitUntil(() => Object.keys(watcher.present()).length === lost.length, { what: "all to be present" });
  proxy.stall();
  await waitUntil(
    () => {
      watcher.socket.send([null, "h", "phoenix", "heartbeat", {}]);
      return Object.keys(watcher.present()).length === 0;
    },
    { what: "all to have left", timeoutMs: 20_000 },
  );
  await waitUntil(async () => (await metric("walcast_gateway_connections")) === 1, {
    what: "the connections to be gone",
    timeoutMs: 20_000,
  });
  expect(watcher.present()).toEqual({});
});

it("storms of connections that join, track, and go leave no memory behind", async () => {
  const other = await open();
  const residentBytes = (): number =>
    Number(/VmRSS:\s+(\d+) kB/u.exec(readFileSync(`/proc/${gateway.process.pid}/status`, "utf8"))?.[1]) * 1024;
  const storm = async (): Promise<void> => {
    expect(await isAnswered(other)).toBe(true); // and so it is not closed for being idle
    const sockets = await Promise.all(
      Array.from({ length: 300 }, () => openRaw(`ws://127.0.0.1:${gateway.port}/socket`)),
    );
    for (const [n, socket] of sockets.entries()) {
      const topic = `realtime:storm ${n % 100}`;
      const config = { presence: { enabled: true, key: `u${n}` }, broadcast: { self: true } };
      socket.send({ topic, event: "phx_join", payload: { config }, ref: "1", join_ref: "1" });
      socket.send({ topic, event: "presence", payload: { event: "track", payload: { n } }, ref: "2" });
      socket.send({ topic, event: "broadcast", payload: { event: "e", payload: "x".repeat(10_000) }, ref: "3" });
    }
    await Promise.all(
      sockets.map((socket) => socket.next((frame) => (frame as { ref: unknown }).ref === "2", "the answers")),
    );
    for (const socket of sockets) socket.end();
    await waitUntil(async () => (await metric("walcast_gateway_connections")) === 1, { what: "all to be gone" });
  };
  for (let n = 0; n < 5; n++) await storm();
  const afterSome = residentBytes();
  for (let n = 0; n < 10; n++) await storm();
  expect(await isAnswered(other)).toBe(true);
  expect(residentBytes() - afterSome).toBeLessThan(60 * 2 ** 20);
});
