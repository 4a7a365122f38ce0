import { NatsChangeLog } from "@walcast/change-log";
import { orExit } from "@walcast/config";
import { backoff, runUntilSignal } from "@walcast/lifecycle";
import { databaseOf } from "@walcast/postgres";
import { createLogger, Health, Registry, startHealthServer } from "@walcast/telemetry";
import { readConfig } from "./config.ts";
import { Ingester } from "./ingester.ts";
import { createMetrics } from "./metrics.ts";

const config = orExit(readConfig);
const log = createLogger("ingester", { level: config.LOG_LEVEL, format: config.LOG_FORMAT });
const health = new Health();
const registry = new Registry();
const metrics = createMetrics(registry);
const server = await startHealthServer({ port: config.INGESTER_PORT, host: config.INGESTER_HOST, health, registry });

const ingester = new Ingester({
  config,
  database: databaseOf(config),
  log,
  health,
  metrics,
  openChangeLog: () =>
    NatsChangeLog.connect({
      url: config.NATS_URL?.reveal() ?? "",
      name: "walcast ingester",
      source: config.SOURCE_NAME,
      backoff,
      writing: {
        retentionMs: config.LOG_RETENTION_MS,
        retentionBytes: config.LOG_RETENTION_BYTES,
        replicas: config.LOG_REPLICAS,
        batchBytes: config.BATCH_BYTES,
        syncIntervalMs: config.NATS_SYNC_INTERVAL_MS,
        ackTimeoutMs: config.NATS_ACK_TIMEOUT_MS,
      },
    }),
});
await runUntilSignal([ingester], { log, drainMs: config.DRAIN_MS });
server.close();
server.closeAllConnections();
