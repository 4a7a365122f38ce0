import { createHmac } from "node:crypto";
import { RealtimeClient } from "@supabase/realtime-js";
import { docker, freePort, waitUntil } from "@walcast/testkit";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { render } from "./helm.ts";
import { dashboardQueries, namedMetrics, startPrometheus, type QueryResult } from "./observability.ts";
import { Pods, type Pod } from "./pods.ts";

// The chart without a cluster: its Pods as containers, confined as the manifests say, on a PostgreSQL beside them. The tests
// are the life of a release, in order: hooks, Pods, a change, an update of a gateway, a failover, and what is left.

const name = "walcast-chart-test";
const database = `${name}-db`;
const jwtSecret = "a secret of at least 32 characters";
let sql: pg.Client;
let port: number;
let pods: Pods;
let nats: Pod;
let redis: Pod;
let ingesters: readonly Pod[];
let gateway: Pod;

beforeAll(async () => {
  await docker(["build", "--quiet", "--file=deploy/docker/Dockerfile", "--target=walcast", `--tag=${name}`, "."]);
  await docker(["network", "create", name]);
  port = await freePort();
  const publish = `--publish=127.0.0.1:${port}:5432`;
  const place = [`--name=${database}`, `--network=${name}`, "--network-alias=db", publish];
  const flags = ["-c", "wal_level=logical", "-c", "max_slot_wal_keep_size=4GB"];
  await docker(["run", "--detach", ...place, "--env=POSTGRES_PASSWORD=postgres", "postgres:17", "postgres", ...flags]);
  sql = await connectWhenUp();
  await sql.query("CREATE ROLE walcast LOGIN REPLICATION SUPERUSER PASSWORD 'secret'");
  await sql.query("CREATE TABLE orders (id int PRIMARY KEY, status text)");
  await sql.query("ALTER TABLE orders REPLICA IDENTITY FULL");
  await sql.query("CREATE PUBLICATION supabase_realtime FOR TABLE orders");
  const manifests = await render({
    image: { repository: name, tag: "latest" },
    database: { host: "db", password: "secret" },
    auth: { jwtSecret },
    gateway: { drainSeconds: 3, preStopSeconds: 2 },
    migrations: { enabled: true, createRoles: true },
    slotCleanup: { enabled: true },
  });
  pods = new Pods({ manifests, network: name });
});

afterAll(async () => {
  await pods.removeAll();
  await sql.end();
  await docker(["rm", "--force", "--volumes", database]);
  await docker(["network", "rm", name]);
  await docker(["rmi", "--force", name]);
});

/** It restarts once while it is set up. */
const connectWhenUp = (): Promise<pg.Client> =>
  waitUntil(
    async () => {
      const client = new pg.Client({ connectionString: `postgres://postgres:postgres@127.0.0.1:${port}/postgres` });
      client.on("error", () => undefined);
      await client.connect();
      return client;
    },
    { what: "PostgreSQL", timeoutMs: 60_000, intervalMs: 200 },
  );

test("the migration hook makes schema realtime, and doing it again changes nothing", async () => {
  const job = await pods.start("Job", "demo-walcast-migrate");
  expect([await job.exitCode(), await job.logs()]).toEqual([0, expect.stringContaining("migrations applied: 1")]);
  const { rows } = await sql.query<{ found: string | null }>("SELECT to_regclass('realtime.messages') AS found");
  expect(rows).toEqual([{ found: "realtime.messages" }]);
  const again = await pods.start("Job", "demo-walcast-migrate");
  expect([await again.exitCode(), await again.logs()]).toEqual([0, "schema realtime is up to date"]);
});

test("the bundled NATS and Redis become ready", async () => {
  nats = await pods.start("StatefulSet", "demo-walcast-nats", ["demo-walcast-nats-0.demo-walcast-nats"]);
  redis = await pods.start("Deployment", "demo-walcast-redis", ["demo-walcast-redis"]);
  await Promise.all([nats.untilReady(), redis.untilReady()]);
  expect(await nats.probe("startupProbe")).toBe(true);
  expect(await nats.logs()).toContain("demo-walcast-nats-0"); // the server's name is the Pod's
});

test("two ingesters and a gateway pass their probes; one ingester leads", async () => {
  ingesters = await Promise.all([1, 2].map(() => pods.start("Deployment", "demo-walcast-ingester")));
  gateway = await pods.start("Deployment", "demo-walcast-gateway", ["demo-walcast"]);
  const all = [...ingesters, gateway];
  await Promise.all(all.map((pod) => pod.untilReady()));
  for (const pod of all) {
    expect(await pod.probe("startupProbe")).toBe(true);
    expect(await pod.probe("livenessProbe")).toBe(true);
  }
  await waitUntil(async () => (await roles()).sort().join() === "leader,standby", { what: "one leader, one standby" });
  for (const pod of all) expect(await metricsOf(pod)).toContain("# HELP walcast_");
});

const roleOf = async (pod: Pod): Promise<string> =>
  ((await (await fetch(await pod.url("metrics", "/healthz"))).json()) as { readonly role: string }).role;
const roles = (): Promise<string[]> => Promise.all(ingesters.map(roleOf));

test("liveness does not ask what readiness asks: without PostgreSQL nobody is started again", async () => {
  await sql.end();
  await docker(["stop", database]);
  const all = [...ingesters, gateway];
  await waitUntil(async () => (await readiness(ingesters)).includes(false), { what: "an ingester that is not ready" });
  for (const pod of all) expect(await pod.probe("livenessProbe")).toBe(true);
  await docker(["start", database]);
  sql = await connectWhenUp();
  await Promise.all(all.map((pod) => pod.untilReady()));
});

const readiness = (of: readonly Pod[]): Promise<boolean[]> => Promise.all(of.map((pod) => pod.probe("readinessProbe")));

test("a change reaches a client with a token, and nobody gets in without one", async () => {
  const url = (await gateway.url("http", "/socket")).replace("http", "ws");
  expect(await statusWithoutToken(url)).toBe(401);
  await sql.query("GRANT SELECT ON orders TO service_role"); // the migration hook made that role
  const changes = await follow(url);
  await sql.query("INSERT INTO orders VALUES (1, 'open')");
  await waitUntil(() => changes.length > 0, { what: "the INSERT" });
  expect(changes).toEqual([expect.objectContaining({ eventType: "INSERT", new: { id: 1, status: "open" } })]);
});

test("alerts and dashboard name metrics that the services have", async () => {
  const text = (await Promise.all([...ingesters, gateway].map(metricsOf))).join("\n");
  const known = new Set([...text.matchAll(/^# TYPE (\w+)/gmu)].map(([, metric]) => metric));
  expect(namedMetrics().filter((metric) => !known.has(metric))).toEqual([]);
});

const metricsOf = async (pod: Pod): Promise<string> => (await fetch(await pod.url("metrics", "/metrics"))).text();

test("Prometheus answers every query of the dashboard, and no alert fires", async () => {
  const urls = await Promise.all([...ingesters, gateway].map((pod) => pod.url("metrics")));
  const prometheus = await startPrometheus(urls.map((url) => new URL(url).host));
  onTestFinished(() => prometheus.stop());
  const silent: string[] = [];
  for (const { panel, query } of dashboardQueries()) {
    const ask = (): Promise<QueryResult> => prometheus.get<QueryResult>(`query?query=${encodeURIComponent(query)}`);
    // A rate needs two scrapes.
    const answered = await waitUntil(async () => (await ask()).result.length > 0, {
      what: query,
      timeoutMs: 4_000,
    }).catch(() => false);
    if (!answered) silent.push(panel);
  }
  process.stdout.write(`${JSON.stringify({ dashboardQueries: dashboardQueries().length, silent: silent.length })}\n`);
  // These count by a label, and nothing has happened yet that could carry one.
  const byLabel = ["Broadcasts", "Refused connections and joins", "Limits met", "Broadcasts dropped"];
  expect(silent.filter((panel) => !byLabel.includes(panel))).toEqual([]);

  const { groups } = await prometheus.get<RuleGroups>("rules");
  const rules = groups.flatMap((group) => group.rules);
  expect(rules.length).toBeGreaterThanOrEqual(15);
  expect(rules.filter(({ health }) => health !== "ok")).toEqual([]);
  expect(rules.filter(({ state }) => state === "firing").map(({ name }) => name)).toEqual([]);
});

interface RuleGroups {
  readonly groups: readonly {
    readonly rules: readonly { readonly name: string; readonly health: string; readonly state: string }[];
  }[];
}

test("helm test: the doctor finds nothing to fix", async () => {
  const doctor = await pods.start("Pod", "demo-walcast-doctor");
  const code = await doctor.exitCode();
  process.stdout.write(`${await doctor.logs()}\n`);
  expect(code).toBe(0);
});

test("a gateway that is to go serves during preStop, then closes its clients with 1012 within the drain window", async () => {
  const url = (await gateway.url("http", "/socket")).replace("http", "ws");
  const sockets = await Promise.all(Array.from({ length: 20 }, () => openSocket(url)));
  const startedAt = performance.now();
  const closed = sockets.map(
    (socket) =>
      new Promise<{ code: number; atMs: number }>((resolve) =>
        socket.once("close", (code) => resolve({ code, atMs: performance.now() - startedAt })),
      ),
  );
  const stopped = gateway.stop();
  expect(await gateway.probe("readinessProbe")).toBe(true);
  (await openSocket(url)).close(); // a newcomer, sent here by a balancer that has not heard of it yet

  const ends = await Promise.all(closed);
  expect(await stopped).toBe(0); // 137 would be SIGKILL: the grace period was too short
  expect(new Set(ends.map(({ code }) => code))).toEqual(new Set([1012]));
  expect(Math.min(...ends.map(({ atMs }) => atMs))).toBeGreaterThan(1_900); // preStop: 2 s
  expect(Math.max(...ends.map(({ atMs }) => atMs))).toBeLessThan(2_000 + 3_000 + 2_000);

  gateway = await pods.start("Deployment", "demo-walcast-gateway");
  await gateway.untilReady();
});

test("a leader that is to go hands over, and changes flow on", async () => {
  const at = (await roles()).indexOf("leader");
  const [leader, standby] = [ingesters[at], ingesters[1 - at]];
  if (leader === undefined || standby === undefined) throw new Error("there is no leader");
  const changes = await follow((await gateway.url("http", "/socket")).replace("http", "ws"));
  expect(await leader.stop()).toBe(0);
  await sql.query("INSERT INTO orders VALUES (2, 'paid')");
  await waitUntil(() => changes.length > 0, { what: "the INSERT" });
  expect(await roleOf(standby)).toBe("leader");
  ingesters = [standby];
});

test("the uninstall hook waits until nobody reads the slot, and drops it", async () => {
  const slots = async (): Promise<number | null> =>
    (await sql.query("SELECT FROM pg_replication_slots WHERE slot_name = 'walcast'")).rowCount;
  const job = await pods.start("Job", "demo-walcast-drop-slot");
  expect(await slots()).toBe(1);
  expect(await gateway.stop()).toBe(0);
  for (const pod of ingesters) expect(await pod.stop()).toBe(0);
  expect([await job.exitCode(), await job.logs()]).toEqual([0, "replication slot walcast dropped"]);
  expect(await slots()).toBe(0);
  expect(await nats.stop()).toBe(0);
  expect(await redis.stop()).toBe(0);
});

interface Change {
  readonly eventType: string;
  readonly new: unknown;
}

/** Changes of `orders`, until the test ends. */
async function follow(url: string): Promise<readonly Change[]> {
  const client = new RealtimeClient(url, { params: { apikey: token() }, transport: WebSocket as never });
  onTestFinished(() => void client.disconnect());
  const changes: Change[] = [];
  let status = "";
  client
    .channel("orders")
    .on("postgres_changes", { event: "*", schema: "public", table: "orders" }, (change) => changes.push(change))
    .on("system", {}, (message: { readonly status: string }) => (status = message.status))
    .subscribe();
  await waitUntil(() => status === "ok", { what: "the subscription" });
  return changes;
}

const openSocket = (url: string): Promise<WebSocket> =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url}/websocket?vsn=1.0.0&apikey=${token()}`);
    socket.once("open", () => resolve(socket));
    socket.once("error", reject);
  });

function statusWithoutToken(url: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url}/websocket?vsn=1.0.0`);
    socket.once("unexpected-response", (request, response) => {
      request.destroy();
      resolve(response.statusCode);
    });
    socket.once("open", () => reject(new Error("it was accepted")));
    socket.on("error", () => undefined); // destroying the request is one
  });
}

function token(): string {
  const encode = (part: unknown): string => Buffer.from(JSON.stringify(part)).toString("base64url");
  const exp = Math.floor(Date.now() / 1_000) + 600;
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ role: "service_role", exp })}`;
  return `${signed}.${createHmac("sha256", jwtSecret).update(signed).digest("base64url")}`;
}
