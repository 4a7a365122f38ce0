import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { freePort, spawnService, startNats, startPostgres, waitUntil, type LineProcess } from "@walcast/testkit";
import { Client } from "pg";
import { WebSocket } from "ws";
import { startCluster } from "../cluster.ts";
import { connectClient, isSubscribed } from "../realtime-clients.ts";
import { median, percentile } from "./statistics.ts";

const rates = [100, 1_000] as const;
const rounds = 3;
const roundMs = 5_000;
const warmUpMs = 2_000;
const writers = 8;

/** A table whose rows come back to this process, one way or another. */
interface Route {
  readonly table: string;
  /** Row id → milliseconds of this process's clock at which the application's callback had it. */
  readonly arrivals: Map<number, number>;
}

const schema = `
  CREATE TABLE standalone_rows (id int PRIMARY KEY, note text);
  CREATE TABLE cluster_rows (id int PRIMARY KEY, note text);
  CREATE TABLE notify_rows (id int PRIMARY KEY, note text);
  CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_notify('rows', row_to_json(NEW)::text); RETURN NULL; END $$;
  CREATE TRIGGER tell AFTER INSERT ON notify_rows FOR EACH ROW EXECUTE FUNCTION tell();
  CREATE PUBLICATION supabase_realtime FOR TABLE cluster_rows;
  CREATE PUBLICATION standalone FOR TABLE standalone_rows`;

/** From sending an INSERT to the application's callback, for all ways at once in turn: standalone, cluster, LISTEN/NOTIFY. */
export async function benchLatency(only: string | undefined): Promise<void> {
  const [postgres, nats] = [await startPostgres(), await startNats()];
  const cluster = await startCluster({ postgresUrl: postgres.url, natsUrl: nats.url, schema });
  const processes: LineProcess[] = [];
  try {
    const { url } = cluster.database;
    const routes = [
      await standaloneRoute(url, processes),
      await walcastRoute("cluster_rows", cluster.url),
      await notifyRoute(url, processes),
    ];
    for (const rate of rates) if (only === undefined || only === String(rate)) await measure(url, routes, rate);
  } finally {
    await Promise.all(processes.map((process) => process.stop()));
    await cluster.stop();
    await nats.stop();
    await postgres.stop();
  }
  process.exit(); // published clients keep timers
}

async function standaloneRoute(databaseUrl: string, processes: LineProcess[]): Promise<Route> {
  const port = await freePort();
  const service = spawnService({
    entry: fileURLToPath(new URL("../../../../services/standalone/src/main.ts", import.meta.url)),
    name: "standalone",
    env: {
      DATABASE_URL: databaseUrl,
      PORT: String(port),
      SLOT_NAME: "standalone",
      PUBLICATIONS: '["standalone"]',
      CREATE_PUBLICATION: "false",
      LOG_LEVEL: "info",
    },
  });
  processes.push(service);
  await service.waitForLine("leader: replication started", { timeoutMs: 40_000 });
  return walcastRoute("standalone_rows", `ws://127.0.0.1:${port}/socket`);
}

async function walcastRoute(table: string, url: string): Promise<Route> {
  const arrivals = new Map<number, number>();
  const subscription = connectClient("2.119.0", url).subscribe({ table });
  // The callback puts each change here.
  subscription.changes.push = (change): number => arrivals.set(Number(change.record["id"]), performance.now()).size;
  await waitUntil(() => isSubscribed(subscription), { what: `the subscription to ${table}` });
  return { table, arrivals };
}

async function notifyRoute(databaseUrl: string, processes: LineProcess[]): Promise<Route> {
  const port = await freePort();
  const service = spawnService({
    entry: fileURLToPath(new URL("peers/listen-notify.ts", import.meta.url)),
    name: "listen-notify",
    env: { DATABASE_URL: databaseUrl, PORT: String(port) },
  });
  processes.push(service);
  await service.waitForLine("listening");
  const arrivals = new Map<number, number>();
  const socket = new WebSocket(`ws://127.0.0.1:${port}`);
  socket.on("message", (data: Buffer) => {
    const { id } = JSON.parse(data.toString()) as { id: number };
    arrivals.set(id, performance.now());
  });
  await once(socket, "open");
  return { table: "notify_rows", arrivals };
}

let ids = 0;

async function measure(url: string, routes: readonly Route[], rate: number): Promise<void> {
  const clients = await Promise.all(Array.from({ length: writers }, () => connected(url)));
  const delays = new Map<string, { p50: number[]; p99: number[] }>();
  for (let round = 0; round <= rounds; round++) {
    for (const route of routes) {
      const sent = await insertAt(clients, route, { rate, forMs: round === 0 ? warmUpMs : roundMs });
      await waitUntil(() => route.arrivals.size >= sent.size, { what: `${sent.size} rows of ${route.table}` });
      const times = [...sent].map(([id, atMs]) => (route.arrivals.get(id) ?? Number.NaN) - atMs);
      route.arrivals.clear();
      if (round === 0) continue;
      const known = delays.get(route.table) ?? { p50: [], p99: [] };
      known.p50.push(percentile(times, 0.5));
      known.p99.push(percentile(times, 0.99));
      delays.set(route.table, known);
    }
  }
  await Promise.all(clients.map((client) => client.end()));
  const yardstick = median(delays.get("notify_rows")?.p50 ?? []);
  for (const [table, { p50, p99 }] of delays) {
    const line = {
      bench: "latency",
      case: `${table.replace("_rows", "")}, ${rate} changes/s`,
      p50_ms: round2(median(p50)),
      p99_ms: round2(median(p99)),
    };
    console.log(JSON.stringify(table === "notify_rows" ? line : { ...line, ratio: round2(median(p50) / yardstick) }));
  }
}

const round2 = (value: number): number => Number(value.toFixed(2));

async function connected(connectionString: string): Promise<Client> {
  const client = new Client({ connectionString });
  await client.connect();
  return client;
}

/** Single-row transactions at an even rate, whether the former ones are through or not. */
async function insertAt(
  clients: readonly Client[],
  { table }: Route,
  { rate, forMs }: { rate: number; forMs: number },
): Promise<Map<number, number>> {
  const sent = new Map<number, number>();
  const running: Promise<unknown>[] = [];
  const startMs = performance.now();
  for (let elapsedMs = 0; elapsedMs < forMs; elapsedMs = performance.now() - startMs) {
    while (sent.size < (elapsedMs / 1_000) * rate) {
      const id = ++ids;
      sent.set(id, performance.now());
      const note = `a note of ordinary length about row ${id}`;
      const text = `INSERT INTO ${table} VALUES ($1, $2)`;
      const insert = clients[id % clients.length]?.query({ name: table, text, values: [id, note] });
      if (insert !== undefined) running.push(insert);
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(running);
  return sent;
}
