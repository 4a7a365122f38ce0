import { readFileSync } from "node:fs";
import { applyFixes, collect, examine, type DoctorSettings } from "@walcast/doctor";
import { databaseOf } from "@walcast/postgres";
import { readDoctorConfig, type DoctorEnvironment } from "./config.ts";
import { formatReport } from "./doctor-report.ts";
import type { DoctorFlags } from "./program.ts";

/** Examines, fixes when asked to, prints, and sets the exit code: 0, or 1 when there is something to fix. */
export async function runDoctor({ for: service, json, fix, strict }: DoctorFlags): Promise<void> {
  const settings = doctorSettings(readDoctorConfig(), service);
  let findings = examine(await collect(settings), settings);
  const fixed = fix ? await applyFixes(settings.database, findings) : [];
  if (fixed.length > 0) findings = examine(await collect(settings), settings);
  const looked = { postgres: true, nats: settings.nats !== undefined, redis: settings.redis !== undefined };
  const isHealthy = !findings.some(({ severity }) => severity === "error" || (strict && severity === "warning"));
  const text = json
    ? JSON.stringify({ healthy: isHealthy, for: service, looked, fixed, findings }, undefined, 2)
    : formatReport({ service, findings, fixed, looked });
  process.stdout.write(`${text}\n`);
  process.exitCode = isHealthy ? 0 : 1;
}

/**
 * What the doctor looks at under these settings. NATS and Redis: only where they are named, as standalone has neither, and
 * Redis not for the ingester, which has nothing in it.
 */
export function doctorSettings(
  { config, isGiven }: DoctorEnvironment,
  service: DoctorSettings["service"],
): DoctorSettings {
  const { NATS_URL: nats, REDIS_URL: redis, REDIS_SSL_CA_CERT: redisCa } = config;
  const secret = config.JWT_SECRET?.reveal();
  return {
    service,
    database: databaseOf(config),
    slot: config.SLOT_NAME,
    publications: config.PUBLICATIONS,
    nats:
      nats === undefined || !isGiven("NATS_URL")
        ? undefined
        : {
            url: nats.reveal(),
            source: config.SOURCE_NAME,
            retentionMs: config.LOG_RETENTION_MS,
            retentionBytes: config.LOG_RETENTION_BYTES,
            replicas: config.LOG_REPLICAS,
            syncIntervalMs: config.NATS_SYNC_INTERVAL_MS,
            monitorUrl: config.NATS_MONITOR_URL,
          },
    redis:
      redis === undefined || service === "ingester"
        ? undefined
        : { url: redis.reveal(), ca: redisCa === undefined ? undefined : readFileSync(redisCa, "utf8") },
    tokens: {
      areVerified: config.SECURE_CHANNELS,
      secretBytes: secret === undefined ? undefined : Buffer.byteLength(secret),
      hasInlineKeys: config.JWT_JWKS !== undefined,
      keysUrl: config.JWT_JWKS_URL,
    },
  };
}
