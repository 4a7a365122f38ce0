import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startNats, startNatsCluster, startPostgres, waitUntil, type ServerProcess } from "@walcast/testkit";
import { Client } from "pg";
import { ChaosService } from "./chaos-service.ts";
import { workloadSchema } from "./workload.ts";

export type NatsKind = "single" | "cluster";

export interface ChaosSystemOptions {
  readonly nats: NatsKind;
  /** NATS_SYNC_INTERVAL_MS of the ingesters. */
  readonly syncIntervalMs: number;
  /** How long the log keeps history. */
  readonly retentionMs?: number;
  /** Run before the ingesters start; the chaos workload's unless given. */
  readonly schema?: string;
  /** Added to, or in place of, what the ingesters get. */
  readonly env?: Readonly<Record<string, string>>;
}

/** One PostgreSQL, NATS, and two ingesters, each with a network of its own. */
export interface ChaosSystem {
  readonly postgres: ServerProcess;
  readonly nats: readonly ServerProcess[];
  readonly natsUrl: string;
  readonly source: string;
  readonly ingesters: readonly ChaosService[];
  /** A connection that no trouble reaches but the server's own. */
  withSql<T>(use: (client: Client) => Promise<T>): Promise<T>;
  stop(): Promise<void>;
}

export async function startChaosSystem(options: ChaosSystemOptions): Promise<ChaosSystem> {
  const { nats: kind, syncIntervalMs, retentionMs = 3_600_000, schema = workloadSchema, env } = options;
  const stops: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    const failures: unknown[] = [];
    for (const end of stops.splice(0).toReversed()) await end().catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw new AggregateError(failures, `stopping failed: ${failures.map(String).join("; ")}`);
  };
  try {
    const postgres = await startPostgres({ postgresFlags: ["-c", "fsync=on"] });
    stops.push(() => postgres.stop());
    const natsCluster = kind === "cluster" ? await startNatsCluster(3) : await singleNats();
    stops.push(() => natsCluster.stop());
    const withSql = <T>(use: (client: Client) => Promise<T>): Promise<T> => withClient(postgres.url, use);
    await withSql((client) => client.query(schema));
    const source = "chaos";
    const ingesters: ChaosService[] = [];
    for (const name of ["ingester 1", "ingester 2"]) {
      const ingester = await ChaosService.start({
        service: "ingester",
        name,
        postgresUrl: postgres.url,
        natsUrls: natsCluster.servers.map((server) => server.url),
        env: {
          SOURCE_NAME: source,
          SLOT_NAME: source,
          NATS_SYNC_INTERVAL_MS: String(syncIntervalMs),
          LOG_RETENTION_MS: String(retentionMs),
          LOG_REPLICAS: kind === "cluster" ? "3" : "1",
          LOG_LEVEL: "debug",
          DRAIN_MS: "2000",
          ...env,
        },
      });
      stops.push(() => ingester.stop());
      ingesters.push(ingester);
    }
    const hasLeader = async (): Promise<boolean> => {
      const roles = await Promise.all(ingesters.map((ingester) => ingester.role()));
      return roles.includes("leader") && roles.includes("standby");
    };
    await waitUntil(hasLeader, { what: "a leader and a standby", timeoutMs: 30_000 });
    return { postgres, nats: natsCluster.servers, natsUrl: natsCluster.url, source, ingesters, withSql, stop };
  } catch (error) {
    await stop().catch(() => undefined);
    throw error;
  }
}

async function singleNats(): Promise<{ url: string; servers: readonly ServerProcess[]; stop: () => Promise<void> }> {
  const server = await startNats();
  return { url: server.url, servers: [server], stop: () => server.stop() };
}

async function withClient<T>(connectionString: string, use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString });
  client.on("error", () => undefined);
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/** What a server had on disk at one moment, to be put back after a crash: the tail it had not yet synced is lost then. */
export interface Snapshot {
  restore(): void;
  discard(): void;
}

/** Copies the data of a server that is held still meanwhile. */
export function takeSnapshot(server: ServerProcess): Snapshot {
  const folder = mkdtempSync(join(tmpdir(), "walcast-snapshot-"));
  server.pause();
  try {
    cpSync(server.dataDir, folder, { recursive: true });
  } finally {
    server.resume();
  }
  return {
    restore() {
      rmSync(server.dataDir, { recursive: true });
      cpSync(folder, server.dataDir, { recursive: true });
    },
    discard: () => rmSync(folder, { recursive: true, force: true }),
  };
}
