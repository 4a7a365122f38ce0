import { createHmac } from "node:crypto";
import { createDatabase, docker, freePort, getInside, isHealthy, lines, waitUntil } from "@walcast/testkit";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import {
  clientVersions,
  connectClient,
  isSubscribed,
  legacyVersions,
  type ClientVersion,
} from "../realtime-clients.ts";
import { createRole } from "../database-roles.ts";
import { BoardPage } from "./board-page.ts";
import { DockerCluster } from "./docker-cluster.ts";
import { measureOutage, type Follower, type Outage } from "./outage.ts";

const cluster = await DockerCluster.create("walcast-test");
let database: pg.Client;

beforeAll(async () => {
  await cluster.down();
  await cluster.up();
  database = new pg.Client({ connectionString: cluster.postgresUrl });
  await database.connect();
});

afterAll(async () => {
  await database.end();
  await cluster.down();
  expect(await cluster.leftovers()).toEqual([]);
});

/** Follows `todos` until the test ends; resolves when the server has confirmed it. */
async function follow(version: ClientVersion, url = cluster.realtimeUrl, token?: string): Promise<Follower> {
  const client = connectClient(version, url, token);
  onTestFinished(() => client.disconnect());
  const subscription = client.subscribe({ table: "todos" });
  await waitUntil(() => isSubscribed(subscription), { what: `realtime-js ${version} to be subscribed` });
  return { version, subscription };
}

/** One JSON line for each client: what an outage costs is something to read, not only to assert. */
function print(outages: readonly Outage[]): void {
  for (const outage of outages) process.stdout.write(`${JSON.stringify(outage)}\n`);
}

test("is reachable from this machine only, unless told otherwise", async () => {
  const ports = await DockerCluster.defaultPorts();
  expect(new Set(ports.map((port) => port.published))).toEqual(new Set(["3000", "3001", "4000", "9090", "54322"]));
  expect(new Set(ports.map((port) => port.host_ip))).toEqual(new Set(["127.0.0.1"]));
});

test("starts without a warning but the one about open channels", async () => {
  const entries = lines(await cluster.logs("ingester", "gateway")).map((line) => JSON.parse(line) as LogEntry);
  const warnings = entries.filter((entry) => entry.level >= 40).map((entry) => entry.msg);
  expect(warnings.filter((message) => !message.startsWith("SECURE_CHANNELS=false"))).toEqual([]);
  expect(entries.filter((entry) => entry.msg === "leader: replication started")).toHaveLength(1);
});

interface LogEntry {
  readonly level: number;
  readonly msg: string;
}

test("keeps the gateways' metrics from clients", async () => {
  const origin = cluster.realtimeUrl.replace(/^ws/u, "http").replace(/\/socket$/u, "");
  expect((await fetch(`${origin}/metrics`)).status).toBe(404);
  expect((await fetch(`${origin}/readyz`)).status).toBe(200);
});

describe.each(clientVersions)("realtime-js %s through the balancer", (version) => {
  test("hears of INSERT, UPDATE with the old row, DELETE, and in 1.x of TRUNCATE", async () => {
    const { changes } = (await follow(version)).subscription;
    const hearsTruncate = legacyVersions.some((legacy) => legacy === version);
    const events = ["INSERT", "UPDATE", "DELETE", ...(hearsTruncate ? ["TRUNCATE"] : [])];

    const inserted = await database.query<{ id: string }>("INSERT INTO todos (task) VALUES ('a') RETURNING id");
    await database.query("UPDATE todos SET task = 'b', done = true");
    await database.query("DELETE FROM todos");
    await database.query("TRUNCATE todos");
    await waitUntil(() => changes.length >= events.length, { what: `${events.join(", ")} at realtime-js ${version}` });

    const id = Number(inserted.rows[0]?.id);
    const [insert, update, deletion] = changes;
    expect(changes.map((change) => change.event)).toEqual(events);
    expect(insert?.record).toMatchObject({ id, task: "a", done: false });
    expect(update?.record).toMatchObject({ id, task: "b", done: true });
    expect(update?.oldRecord).toMatchObject({ id, task: "a", done: false });
    expect(deletion?.oldRecord).toMatchObject({ id, task: "b", done: true });
  });
});

test("clients go on after their gateway was killed", async () => {
  const [spare = "", serving = ""] = await cluster.containers("gateway");
  // With one gateway away, all clients are on the other one. It leaves in good order: as process 1 it hears SIGTERM.
  await docker(["stop", spare]);
  expect(await docker(["inspect", "--format", "{{.State.ExitCode}}", spare])).toBe("0");
  const followers = await Promise.all(clientVersions.map((version) => follow(version)));
  await cluster.start(spare);
  const metrics = await getInside(serving, "http://127.0.0.1:4000/metrics");
  expect(metrics).toContain(`\nwalcast_gateway_connections ${clientVersions.length}\n`);

  const strike = async (): Promise<void> => void (await docker(["kill", serving]));
  const outages = await measureOutage({ what: "gateway killed", database, followers, strike });
  await cluster.start(serving);

  print(outages);
  for (const outage of outages) {
    // What is committed while a client is away is missed: clients of today do not ask for it.
    expect(outage).toMatchObject({ repeated: 0, isOrdered: true });
    expect(outage.silenceMs).toBeLessThan(15_000);
  }
});

test("a killed leader's place is taken, and clients miss nothing", async () => {
  const ingesters = await cluster.containers("ingester");
  const leader = await waitUntil(() => findLeader(ingesters), { what: "one ingester to lead" });
  const followers = await Promise.all(clientVersions.map((version) => follow(version)));

  const strike = async (): Promise<void> => void (await docker(["kill", leader]));
  const outages = await measureOutage({ what: "leading ingester killed", database, followers, strike });
  const successor = await findLeader(ingesters.filter((container) => container !== leader));
  await cluster.start(leader);

  print(outages);
  expect(successor).toBeDefined();
  for (const outage of outages) expect(outage).toMatchObject({ missed: 0, repeated: 0, isOrdered: true });
});

async function findLeader(ingesters: readonly string[]): Promise<string | undefined> {
  for (const container of ingesters) {
    const { role } = JSON.parse(await getInside(container, "http://127.0.0.1:4001/healthz")) as { role: string };
    if (role === "leader") return container;
  }
  return undefined;
}

test("the service board follows its table", async () => {
  await cluster.up("board");
  const page = await fetch(cluster.boardUrl);
  expect(page.status).toBe(200);
  expect(await page.text()).toMatch(/<!doctype html>/iu);

  const board = new BoardPage(cluster.boardUrl);
  onTestFinished(() => board.close());
  await waitUntil(() => board.isLive && board.listOf(1) === 1, { what: "service 1 in the first list" });
  await database.query("UPDATE service SET status_id = 2 WHERE id = 1");
  await waitUntil(() => board.listOf(1) === 2, { what: "service 1 in the second list" });
});

test("standalone runs with the environment of Supabase's image", async () => {
  const image = `${cluster.project}-image`;
  await docker(["build", "--quiet", "--file", "deploy/docker/Dockerfile", "--target", "walcast", "--tag", image, "."]);
  onTestFinished(async () => void (await docker(["rmi", image])));
  const own = await createDatabase(cluster.postgresUrl);
  onTestFinished(() => own.drop());
  const client = new pg.Client({ connectionString: own.url });
  await client.connect();
  onTestFinished(() => client.end());
  await client.query(
    `CREATE TABLE todos (id int PRIMARY KEY); CREATE PUBLICATION own FOR ALL TABLES;
     ${createRole("authenticated", "todos")}`,
  );

  const port = await freePort();
  const secret = "a secret of at least 32 characters";
  const environment = {
    DB_HOST: "postgres",
    DB_PORT: "5432",
    DB_NAME: new URL(own.url).pathname.slice(1),
    DB_USER: "postgres",
    DB_PASSWORD: "postgres",
    SLOT_NAME: "standalone",
    PORT: "4000",
    SECURE_CHANNELS: "true",
    JWT_SECRET: secret,
    PUBLICATIONS: '["own"]',
  };
  const container = await docker([
    "run",
    "--detach",
    `--network=${cluster.project}_default`,
    `--publish=127.0.0.1:${port}:4000`,
    ...Object.entries(environment).map(([name, value]) => `--env=${name}=${value}`),
    image,
  ]);
  onTestFinished(async () => void (await docker(["rm", "--force", "--volumes", container])));
  await waitUntil(() => isHealthy(container), { what: "standalone to be healthy", timeoutMs: 60_000, intervalMs: 200 });

  const url = `ws://127.0.0.1:${port}/socket`;
  expect(await refusalOf(`${url}/websocket?vsn=1.0.0`)).toBe(401);
  const { changes } = (await follow("2.119.0", url, sign({ role: "authenticated" }, secret))).subscription;
  await client.query("INSERT INTO todos VALUES (1)");
  await waitUntil(() => changes.length > 0, { what: "the INSERT from standalone" });
  expect(changes[0]).toMatchObject({ event: "INSERT", record: { id: 1 } });

  await docker(["stop", container]);
  expect(await docker(["inspect", "--format", "{{.State.ExitCode}}", container])).toBe("0");
});

/** The HTTP status that a WebSocket is refused with. */
function refusalOf(url: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    socket.once("unexpected-response", (request, response) => {
      request.destroy();
      resolve(response.statusCode);
    });
    socket.once("open", () => reject(new Error("it was accepted")));
    socket.on("error", () => undefined); // destroying the request is one
  });
}

function sign(claims: Readonly<Record<string, unknown>>, secret: string): string {
  const encode = (part: unknown): string => Buffer.from(JSON.stringify(part)).toString("base64url");
  const exp = Math.floor(Date.now() / 1_000) + 600;
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ ...claims, exp })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
