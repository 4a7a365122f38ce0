import { docker, waitUntil } from "@walcast/testkit";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { openRaw, refusedUpgrade, type RawSocket } from "../raw-socket.ts";
import { connectClient, isSubscribed } from "../realtime-clients.ts";
import { DockerCluster } from "./docker-cluster.ts";
import { dashboardQueries, PrometheusApi } from "./prometheus-api.ts";

// `docker compose --profile observability up`: what it shows has to be there to be seen.

const cluster = await DockerCluster.create("walcast-observability");
const prometheus = new PrometheusApi(cluster.prometheusUrl);
const patient = { timeoutMs: 60_000, intervalMs: 500 };
const grafanaImage = "grafana/grafana:12.1.0";

beforeAll(async () => {
  await cluster.down();
  await cluster.up();
  await cluster.up("prometheus");
});
afterAll(async () => {
  await cluster.down();
  expect(await cluster.leftovers()).toEqual([]);
});

test("Prometheus scrapes every ingester and every gateway", async () => {
  const jobs = async (): Promise<string[]> =>
    (await prometheus.targets())
      .filter(({ health }) => health === "up")
      .map(({ labels }) => labels.job)
      .toSorted();
  const expected = ["walcast-gateway", "walcast-gateway", "walcast-ingester", "walcast-ingester"];
  await waitUntil(async () => (await jobs()).length >= expected.length, { what: "all targets to be up", ...patient });
  expect(await jobs()).toEqual(expected);
  expect((await prometheus.targets()).filter(({ health }) => health !== "up")).toEqual([]);
});

test("every query of the dashboard has data once there is traffic", async () => {
  await makeTraffic();
  const queries = dashboardQueries();
  expect(queries.length).toBeGreaterThan(30);
  const answers = [];
  for (const { panel, query } of queries) {
    // A rate needs two scrapes.
    const ask = (): Promise<number> => prometheus.series(query);
    const series = await waitUntil(ask, { what: query, timeoutMs: 20_000, intervalMs: 500 }).catch(() => 0);
    answers.push({ panel, query, series });
  }
  const silent = answers.filter(({ series }) => series === 0);
  process.stdout.write(`${JSON.stringify({ dashboardQueries: queries.length, withoutData: silent.length })}\n`);
  expect(silent).toEqual([]);
});

test("Prometheus evaluates every alert, and none fires", async () => {
  const evaluated = async (): Promise<boolean> => (await prometheus.rules()).every(({ health }) => health === "ok");
  await waitUntil(evaluated, { what: "every rule to be evaluated", ...patient });
  const rules = await prometheus.rules();
  expect(rules.length).toBeGreaterThanOrEqual(15);
  for (const { query } of rules) expect(await prometheus.series(query)).toBe(0); // an answer is a condition that holds
  expect(rules.filter(({ state }) => state === "firing").map(({ name }) => name)).toEqual([]);
});

test("Grafana has the dashboard, and asks Prometheus", async ({ skip }) => {
  const hasImage = await docker(["image", "inspect", grafanaImage])
    .catch(() => docker(["pull", "--quiet", grafanaImage]))
    .then(
      () => true,
      () => false,
    );
  if (!hasImage) skip(`the image ${grafanaImage} is neither here nor can it be pulled: Grafana was not tried`);
  await cluster.up("grafana");
  const ask = async <T>(path: string): Promise<T> => {
    const authorization = `Basic ${Buffer.from("admin:admin").toString("base64")}`;
    return (await (await fetch(`${cluster.grafanaUrl}/api/${path}`, { headers: { authorization } })).json()) as T;
  };
  const isUp = async (): Promise<boolean> => (await ask<{ database?: string }>("health")).database === "ok";
  await waitUntil(() => isUp().catch(() => false), { what: "Grafana to answer", ...patient });
  await waitUntil(
    async () => (await ask<{ uid: string }[]>("search?type=dash-db")).some(({ uid }) => uid === "walcast"),
    {
      what: "the dashboard",
      ...patient,
    },
  );
  expect(await ask("datasources/uid/prometheus/health")).toMatchObject({ status: "OK" });
});

/** Some of everything that is counted, also of what is counted by a reason. */
async function makeTraffic(): Promise<void> {
  const database = new pg.Client({ connectionString: cluster.postgresUrl });
  await database.connect();
  onTestFinished(() => database.end());
  const client = connectClient("2.119.0", cluster.realtimeUrl);
  onTestFinished(() => client.disconnect());
  const todos = client.subscribe({ table: "todos" });
  await waitUntil(() => isSubscribed(todos), { what: "to be subscribed" });
  await database.query("INSERT INTO todos (task) SELECT 'row' FROM generate_series(1, 100)");
  await waitUntil(() => todos.changes.length >= 100, { what: "the rows" });

  const socket = await openRaw(cluster.realtimeUrl, { vsn: "2.0.0", apikey: "any" });
  onTestFinished(() => socket.end());
  expect(await join(socket, 0)).toBe("ok");
  socket.send(["0", "b", topicOf(0), "broadcast", { type: "broadcast", event: "e", payload: { hello: 1 } }]);
  socket.send(["0", "p", topicOf(0), "presence", { type: "presence", event: "track", payload: { name: "n" } }]);
  socket.send(["0", "d", topicOf(0), "broadcast", "no object"]);
  await socket.next((frame) => JSON.stringify(frame).includes("presence_diff"), "the presence");
  // One more than TENANT_MAX_CHANNELS_PER_CLIENT.
  for (let n = 1; n < 100; n++) expect(await join(socket, n)).toBe("ok");
  expect(await join(socket, 100)).toBe("error");
  expect((await refusedUpgrade(cluster.realtimeUrl, { vsn: "9", apikey: "any" })).status).toBe(403);
}

const topicOf = (n: number): string => `realtime:topic-${n}`;

async function join(socket: RawSocket, n: number): Promise<string> {
  const config = { broadcast: { self: true, ack: false }, presence: { key: "me", enabled: true } };
  socket.send([String(n), `j${n}`, topicOf(n), "phx_join", { config }]);
  const isReply = (frame: unknown): boolean => Array.isArray(frame) && frame[1] === `j${n}` && frame[3] === "phx_reply";
  const reply = (await socket.next(isReply, `an answer to join ${n}`)) as [string, string, string, string, Reply];
  return reply[4].status;
}

interface Reply {
  readonly status: string;
}
