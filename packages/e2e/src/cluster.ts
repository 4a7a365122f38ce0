import { fileURLToPath } from "node:url";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { streamName } from "@walcast/change-log";
import { parseLsn, parsePosition, zeroLsn } from "@walcast/model";
import {
  createDatabase,
  freePort,
  spawnService,
  waitUntil,
  type LineProcess,
  type TestDatabase,
} from "@walcast/testkit";
import { Client } from "pg";

const serviceEntry = (service: string): string =>
  fileURLToPath(new URL(`../../../services/${service}/src/main.ts`, import.meta.url));

export interface ClusterOptions {
  /** A server of its own database for this cluster is made on it. */
  readonly postgresUrl: string;
  readonly natsUrl: string;
  readonly ingesters?: number;
  readonly gateways?: number;
  /** Added to, or in place of, what the services get. */
  readonly env?: Readonly<Record<string, string>>;
  /** Run in the database before the services start; the publication is made for all tables unless this makes it. */
  readonly schema?: string;
}

export interface RunningService {
  readonly process: LineProcess;
  readonly port: number;
  /** What `/healthz` says, whatever its status. */
  health(): Promise<{
    readonly status: string;
    readonly role?: string;
    /** A gateway's: what it has read of the log. */
    readonly position?: string | null;
    readonly problems: readonly Problem[];
  }>;
}

export interface Problem {
  readonly part: string;
  readonly code: string;
  readonly message: string;
  readonly cause?: string;
}

/** Ingesters and gateways as processes of their own, on a database and a change log of their own. */
export interface Cluster {
  readonly database: TestDatabase;
  readonly sql: Client;
  readonly ingesters: readonly RunningService[];
  readonly gateways: readonly RunningService[];
  /** Endpoint of the first gateway, as clients are given it. */
  readonly url: string;
  addIngester(env?: Readonly<Record<string, string>>): Promise<RunningService>;
  addGateway(env?: Readonly<Record<string, string>>): Promise<RunningService>;
  stop(): Promise<void>;
}

export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const database = await createDatabase(options.postgresUrl);
  const sql = new Client({ connectionString: database.url });
  sql.on("error", () => undefined); // tests restart the server under it
  await sql.connect();
  await sql.query(options.schema ?? "CREATE PUBLICATION supabase_realtime FOR ALL TABLES");
  const ingesters: RunningService[] = [];
  const gateways: RunningService[] = [];
  const common = {
    DATABASE_URL: database.url,
    NATS_URL: options.natsUrl,
    SOURCE_NAME: database.name,
    SLOT_NAME: database.name,
    NATS_SYNC_INTERVAL_MS: "0",
    LOG_RETENTION_BYTES: String(256 * 2 ** 20), // JetStream sets it aside for each stream, and there are many
    DRAIN_MS: "500",
    SECURE_CHANNELS: "false",
    ...options.env,
  };
  const add = async (
    service: "ingester" | "gateway",
    env: Readonly<Record<string, string>> = {},
  ): Promise<RunningService> => {
    const list = service === "ingester" ? ingesters : gateways;
    const running = await startService({
      service,
      name: `${service} ${list.length + 1}`,
      env: { ...common, ...env },
    });
    list.push(running);
    return running;
  };
  const cluster: Cluster = {
    database,
    sql,
    ingesters,
    gateways,
    get url() {
      return `ws://127.0.0.1:${gateways[0]?.port}/socket`;
    },
    addIngester: (env) => add("ingester", env),
    addGateway: (env) => add("gateway", env),
    async stop() {
      await Promise.all([...gateways, ...ingesters].map(({ process }) => process.stop()));
      await sql.end().catch(() => undefined);
      await database.drop();
      await deleteLog(options.natsUrl, database.name).catch(() => undefined); // the server may be gone
    },
  };
  for (let i = 0; i < (options.ingesters ?? 1); i++) await cluster.addIngester();
  for (let i = 0; i < (options.gateways ?? 1); i++) await cluster.addGateway();
  await Promise.all([...gateways, ...ingesters].map((service) => untilHealthy(service)));
  // Who subscribes earlier is told that the first slot was made after it.
  if (ingesters.length > 0) await placeOf(cluster);
  return cluster;
}

/** JetStream sets a stream's retention aside: those of all tests together would not fit on a disk. */
async function deleteLog(servers: string, source: string): Promise<void> {
  const nats = await connect({ servers, reconnect: false, timeout: 2_000 });
  try {
    await (await jetstreamManager(nats)).streams.delete(streamName(source));
  } finally {
    await nats.close();
  }
}

async function startService(options: {
  readonly service: "ingester" | "gateway";
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
}): Promise<RunningService> {
  const given = options.env["PORT"]; // a gateway's, to come back where one was
  const port = given === undefined ? await freePort() : Number(given);
  const ports = options.service === "ingester" ? { INGESTER_PORT: String(port) } : { PORT: String(port) };
  const process = spawnService({
    entry: serviceEntry(options.service),
    env: { ...ports, ...options.env },
    name: options.name,
  });
  return {
    process,
    port,
    async health() {
      const response = await fetch(`http://127.0.0.1:${port}/healthz`);
      return (await response.json()) as Awaited<ReturnType<RunningService["health"]>>;
    },
  };
}

/** The service says it is well; a leader has come to lead. */
export async function untilHealthy(service: RunningService): Promise<void> {
  await waitUntil(
    async () => {
      if (!service.process.isRunning) return false;
      const { status, role } = await service.health();
      return status === "ok" && role !== "starting"; // a gateway has no role
    },
    { what: `${service.process.name} to be healthy`, timeoutMs: 20_000 },
  ).catch((cause: unknown) => {
    throw new Error(service.process.failure("did not become healthy").message, { cause });
  });
}

/** Where all gateways are in a log that a slot feeds; in a new cluster, the log's beginning. */
export async function placeOf({ gateways }: Pick<Cluster, "gateways">): Promise<string> {
  let place = "";
  for (const gateway of gateways) {
    const isInLog = async (): Promise<boolean> => {
      place = (await gateway.health()).position ?? "";
      return (parsePosition(place)?.commitLsn ?? zeroLsn) > zeroLsn;
    };
    await waitUntil(isInLog, { what: `${gateway.process.name} to be at the log's beginning`, timeoutMs: 20_000 });
  }
  return place;
}

/** Runs SQL that changes published rows, and waits until every gateway has read them: who joins later is not told of them. */
export async function settle({ sql, gateways }: Pick<Cluster, "sql" | "gateways">, text: string): Promise<void> {
  const { rows } = await sql.query<{ lsn: string }>("SELECT pg_current_wal_lsn()::text AS lsn");
  const before = parseLsn(rows[0]?.lsn ?? "") ?? zeroLsn;
  await sql.query(text);
  for (const gateway of gateways) {
    await waitUntil(
      async () => {
        const { position } = await gateway.health();
        return (parsePosition(position ?? "")?.commitLsn ?? zeroLsn) >= before;
      },
      { what: `${gateway.process.name} to have read it` },
    );
  }
}

/** The problem that a service reports with this code. */
export async function untilProblem(
  service: RunningService,
  code: string,
  { timeoutMs = 20_000 } = {},
): Promise<Problem> {
  return await waitUntil(async () => (await service.health()).problems.find((problem) => problem.code === code), {
    what: `${service.process.name} to report ${code}`,
    timeoutMs,
  });
}

/** The ingester that leads now. */
export async function untilLeader(ingesters: readonly RunningService[]): Promise<RunningService> {
  return await waitUntil(
    async () => {
      for (const ingester of ingesters) {
        if (!ingester.process.isRunning) continue;
        const { role, status } = await ingester.health();
        if (role === "leader" && status === "ok") return ingester;
      }
      return undefined;
    },
    { what: "an ingester to lead", timeoutMs: 20_000 },
  );
}
