import { createHmac } from "node:crypto";
import { startNats, startPostgres } from "@walcast/testkit";
import { startCluster } from "../cluster.ts";
import { LightClient, type Tally } from "./light-client.ts";
import { rssBytesOf } from "./process-cost.ts";

/** Below the usual limit of 20,000 open files, which both sides have. */
const connections = 18_000;
/** Connecting at the same time; more than a server takes at once. */
const atOnce = 256;
const secret = "a secret of the bench, long enough";

/** Memory of idle joined connections, and how many connect, show their token and join per second. */
export async function benchConnections(): Promise<void> {
  const [postgres, nats] = [await startPostgres(), await startNats()];
  const cluster = await startCluster({
    postgresUrl: postgres.url,
    natsUrl: nats.url,
    env: {
      SECURE_CHANNELS: "true",
      JWT_SECRET: secret,
      IDLE_TIMEOUT_MS: "600000",
      MAX_CONNECTIONS: "0",
      DRAIN_MS: "500",
    },
  });
  const [gateway] = cluster.gateways;
  if (gateway === undefined) throw new Error("the cluster has no gateway");
  const { port, process: server } = gateway;
  const tally: Tally = { frames: 0, closed: 0 };
  const tokens = Array.from({ length: connections }, (_, i) => token(i));
  const clients: LightClient[] = [];
  const open = async (i: number): Promise<void> => {
    const path = `/socket/websocket?vsn=2.0.0&apikey=${tokens[i]}`;
    const client = await LightClient.open({ host: hostOf(i), port, path }, tally);
    const joined = client.until('"status":"ok"');
    client.send(JSON.stringify(["1", "1", `realtime:room-${i % 100}`, "phx_join", { config: {} }]));
    await joined;
    clients.push(client);
  };
  for (let i = 0; i < 500; i++) await open(i); // warms up
  const before = await settledRss(server.pid);
  const startedMs = performance.now();
  let next = clients.length;
  const opened = next;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (next < connections) await open(next++);
    }),
  );
  const seconds = (performance.now() - startedMs) / 1_000;
  const after = await settledRss(server.pid);
  const line = {
    bench: "connections",
    case: `${connections} joined`,
    bytes_per_connection: Math.round((after - before) / (connections - opened)),
    rss_mb: Math.round(after / 2 ** 20),
    joins_per_s: Math.round((connections - opened) / seconds),
    closed: tally.closed,
  };
  console.log(JSON.stringify(line));
  for (const client of clients) client.end();
  await cluster.stop();
  await nats.stop();
  await postgres.stop();
}

const base64 = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/** HS256, each connection another user's (RFC 7515). */
function token(user: number): string {
  const exp = Math.floor(Date.now() / 1_000) + 3_600;
  const body = `${base64({ alg: "HS256", typ: "JWT" })}.${base64({ role: "authenticated", sub: `user-${user}`, exp })}`;
  return `${body}.${createHmac("sha256", secret).update(body).digest("base64url")}`;
}

/**
 * Many of the loopback's addresses: the kernel looks for a free port of one address pair after the other, and with most of
 * them taken that took two thirds of this process's time.
 */
const hostOf = (i: number): string => `127.0.0.${1 + (i % 16)}`;

/** After a quiet while, in which garbage is collected. */
async function settledRss(pid: number): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  return rssBytesOf(pid);
}
