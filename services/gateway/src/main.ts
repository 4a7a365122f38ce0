import { NatsBus } from "@walcast/bus";
import { NatsChangeLog } from "@walcast/change-log";
import { orExit } from "@walcast/config";
import { backoff, runUntilSignal, withHealthPort } from "@walcast/lifecycle";
import { databaseOf } from "@walcast/postgres";
import { createLogger, describeError, Health, openTracing, Registry } from "@walcast/telemetry";
import { startGateway } from "./compose.ts";
import { readConfig } from "./config.ts";
import { openRedisShared } from "./redis/shared.ts";

const config = orExit(readConfig);
const log = createLogger("gateway", { level: config.LOG_LEVEL, format: config.LOG_FORMAT });
const health = new Health();
const registry = new Registry();
const tracing = await openTracing("gateway", { config, log });
const nats = { url: config.NATS_URL?.reveal() ?? "", source: config.SOURCE_NAME };
try {
  const redisUrl = config.REDIS_URL?.reveal();
  if (redisUrl === undefined)
    log.warn("REDIS_URL is not set: presence, limits and resume ids hold for this gateway alone");
  const gateway = await startGateway({
    config,
    host: config.HOST ?? "0.0.0.0",
    drainWindowMs: config.DRAIN_MS,
    database: databaseOf(config),
    openChangeLog: () =>
      NatsChangeLog.connect({
        ...nats,
        name: "walcast gateway",
        // Short: a gateway that starts before the first ingester waits for the stream to be made.
        backoff: (failures, signal) => backoff(failures, signal, { maxMs: 2_000 }),
      }),
    openBus: (onTrouble) => {
      health.starting("bus");
      return NatsBus.open({ ...nats, name: "walcast gateway bus", onTrouble, backoff });
    },
    shared:
      redisUrl === undefined
        ? undefined
        : openRedisShared({
            url: redisUrl,
            caPath: config.REDIS_SSL_CA_CERT,
            source: config.SOURCE_NAME,
            leaseMs: config.PRESENCE_LEASE_MS,
            rememberMs: config.RESUME_REMEMBER_MS,
          }),
    log,
    health,
    registry,
    tracing,
  });
  const healthPort = { port: config.METRICS_PORT, host: config.HOST ?? "0.0.0.0", health, registry };
  const service = config.METRICS_PORT === 0 ? gateway : await withHealthPort(gateway, healthPort);
  await runUntilSignal([service], { log, drainMs: config.DRAIN_MS + 5_000 });
} catch (error) {
  log.fatal(describeError(error), "cannot start");
  process.exitCode = 1;
}
await tracing?.close(1_000);
process.exit(); // what listens already, or an export that is tried again, would hold the process
