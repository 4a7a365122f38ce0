import { MemoryNetwork } from "@walcast/bus";
import { firstEpoch, MemoryChangeLog } from "@walcast/change-log";
import { orExit } from "@walcast/config";
import { startGateway } from "@walcast/gateway";
import { createMetrics, Ingester } from "@walcast/ingester";
import { runUntilSignal } from "@walcast/lifecycle";
import { databaseOf, type Database } from "@walcast/postgres";
import { createLogger, describeError, Health, openTracing, Registry } from "@walcast/telemetry";
import { banner } from "./banner.ts";
import { fallbackDataRoot, OpenServerError, readStandalone, type Standalone } from "./config.ts";
import { chooseDataDir } from "./data-dir.ts";
import { createDemo } from "./demo.ts";
import { startEmbeddedDatabase, type EmbeddedDatabase } from "./embedded-database.ts";

const { config, isDatabaseGiven, host } = orExit(() => {
  try {
    return readStandalone();
  } catch (error) {
    if (!(error instanceof OpenServerError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return process.exit(78); // EX_CONFIG of sysexits.h
  }
}) satisfies Standalone;
const log = createLogger("standalone", { level: config.LOG_LEVEL, format: config.LOG_FORMAT });
const tracing = await openTracing("standalone", { config, log });

let embedded: EmbeddedDatabase | undefined;
try {
  let database: Database;
  let dataDir = "";
  if (isDatabaseGiven) {
    database = databaseOf(config);
  } else {
    dataDir = await chooseDataDir({
      given: config.DATA_DIR,
      workingDir: process.cwd(),
      fallbackRoot: fallbackDataRoot(),
      isRoot: process.getuid?.() === 0,
    });
    log.info({ dataDir }, "no database given: starting the embedded PostgreSQL");
    embedded = await startEmbeddedDatabase({ dataDir, port: config.EMBEDDED_POSTGRES_PORT });
    database = { connectionString: embedded.url };
    await createDemo(database);
  }
  const health = new Health();
  const registry = new Registry();
  const changeLog = new MemoryChangeLog({ batchBytesLimit: config.BATCH_BYTES, firstEpoch: firstEpoch() });
  const ingester = new Ingester({
    config,
    database,
    log,
    health,
    metrics: createMetrics(registry),
    tracing,
    connect: () => Promise.resolve({ changeLog, heartbeats: undefined }),
  });
  const gateway = await startGateway({
    config,
    host,
    database,
    log,
    health,
    registry,
    tracing,
    drainWindowMs: Math.min(500, config.DRAIN_MS / 2),
    openChangeLog: () => Promise.resolve(changeLog),
    openBus: () => new MemoryNetwork().open(), // there is no other gateway
  });
  const demo = embedded === undefined ? undefined : { databaseUrl: embedded.url, dataDir };
  process.stdout.write(
    `${banner({ host, port: config.PORT, isOpen: !config.SECURE_CHANNELS, hasInspector: config.INSPECTOR, demo })}\n`,
  );
  await runUntilSignal([ingester, gateway], { log, drainMs: config.DRAIN_MS });
} catch (error) {
  log.fatal(describeError(error), "cannot start");
  process.exitCode = 1;
} finally {
  await embedded?.stop();
  await tracing?.close(Math.min(1_000, config.DRAIN_MS / 4));
}
process.exit();
