import { NatsChangeLog } from "@walcast/change-log";
import { orExit } from "@walcast/config";
import { backoff, runUntilSignal } from "@walcast/lifecycle";
import { databaseOf } from "@walcast/postgres";
import { createLogger, describeError, Health, openTracing, Registry, startHealthServer } from "@walcast/telemetry";
import { readConfig } from "./config.ts";
import { Ingester, type Connections } from "./ingester.ts";
import { createMetrics } from "./metrics.ts";
import { natsHeartbeats } from "./nats/leader-heartbeats.ts";
import { readSyncInterval } from "./nats/sync-interval.ts";

const config = orExit(readConfig);
const log = createLogger("ingester", { level: config.LOG_LEVEL, format: config.LOG_FORMAT });
const health = new Health();
const registry = new Registry();
const metrics = createMetrics(registry);
const tracing = await openTracing("ingester", { config, log });
const server = await startHealthServer({ port: config.INGESTER_PORT, host: config.INGESTER_HOST, health, registry });

/** What the server itself says wins over the setting; where it does not say, or cannot be asked, the setting holds. */
async function syncIntervalMs(): Promise<number> {
  const { NATS_MONITOR_URL: monitor, NATS_SYNC_INTERVAL_MS: setting } = config;
  if (monitor === undefined) return setting;
  try {
    return (await readSyncInterval(monitor)) ?? setting;
  } catch (error) {
    log.warn(
      { monitor, ...describeError(error) },
      "cannot read sync_interval from NATS; NATS_SYNC_INTERVAL_MS is used",
    );
    return setting;
  }
}

async function connect(): Promise<Connections> {
  const changeLog = await NatsChangeLog.connect({
    url: config.NATS_URL?.reveal() ?? "",
    name: "walcast ingester",
    source: config.SOURCE_NAME,
    backoff,
    writing: {
      retentionMs: config.LOG_RETENTION_MS,
      retentionBytes: config.LOG_RETENTION_BYTES,
      replicas: config.LOG_REPLICAS,
      batchBytes: config.BATCH_BYTES,
      syncIntervalMs: await syncIntervalMs(),
      ackTimeoutMs: config.NATS_ACK_TIMEOUT_MS,
    },
  });
  return { changeLog, heartbeats: natsHeartbeats(changeLog.connection, config.SOURCE_NAME) };
}

const ingester = new Ingester({ config, database: databaseOf(config), connect, log, health, metrics, tracing });
await runUntilSignal([ingester], { log, drainMs: config.DRAIN_MS });
server.close();
server.closeAllConnections();
if (tracing !== undefined) {
  await tracing.close(Math.min(1_000, config.DRAIN_MS / 4));
  process.exit(); // an export that is tried again would hold the process
}
