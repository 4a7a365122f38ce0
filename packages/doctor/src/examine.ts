import { checkMessages } from "./check-messages.ts";
import { checkLogSettings, checkNats } from "./check-nats.ts";
import { checkRedis, checkTokens } from "./check-rest.ts";
import { checkRights } from "./check-rights.ts";
import { checkClock, checkReplication } from "./check-server.ts";
import { checkSlot } from "./check-slot.ts";
import { checkTables } from "./check-tables.ts";
import { isUnreachable, type Facts } from "./facts.ts";
import { setting, type Finding, type Severity } from "./finding.ts";
import { collectKeys } from "./keys-facts.ts";
import { collectNats } from "./nats-facts.ts";
import { collectPostgres } from "./postgres-facts.ts";
import { collectRedis } from "./redis-facts.ts";
import type { DoctorSettings } from "./settings.ts";

/** Finds out everything, at once. Nothing is changed. */
export async function collect(settings: DoctorSettings, now: () => number = Date.now): Promise<Facts> {
  const { service, nats, tokens } = settings;
  const redis = service === "ingester" ? undefined : settings.redis;
  const keysUrl = service !== "ingester" && tokens.areVerified ? tokens.keysUrl : undefined;
  const [postgres, natsFacts, redisFacts, keys] = await Promise.all([
    collectPostgres({ ...settings, now }),
    nats === undefined ? undefined : collectNats(nats),
    redis === undefined ? undefined : collectRedis(redis.url, redis.ca),
    keysUrl === undefined ? undefined : collectKeys(keysUrl),
  ]);
  return { postgres, nats: natsFacts, redis: redisFacts, keys };
}

const order: Readonly<Record<Severity, number>> = { error: 0, warning: 1, note: 2 };

/** What is wrong with these facts under these settings; the worst comes first. */
export function examine({ postgres, nats, redis, keys }: Facts, settings: DoctorSettings): readonly Finding[] {
  const findings = [
    ...examinePostgres(postgres, settings),
    ...examineNats(nats, settings),
    ...(redis === undefined
      ? []
      : isUnreachable(redis)
        ? [away("REDIS_UNAVAILABLE", "Redis", redis.unreachable, "REDIS_URL, or start the server")]
        : checkRedis(redis)),
    ...(settings.service === "ingester" ? [] : checkTokens(settings.tokens, keys)),
  ];
  return findings.toSorted((one, other) => order[one.severity] - order[other.severity]);
}

function examinePostgres(facts: Facts["postgres"], settings: DoctorSettings): readonly Finding[] {
  if (isUnreachable(facts)) {
    const remedy = "DATABASE_URL, or DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD, DB_SSL";
    return [away("DATABASE_UNAVAILABLE", "PostgreSQL", facts.unreachable, remedy)];
  }
  const { service } = settings;
  return [
    ...(service === "gateway" ? [] : [...checkReplication(facts, settings), ...checkSlot(facts, settings)]),
    ...checkClock(facts),
    ...checkTables(facts, settings),
    ...(service === "ingester" ? [] : [...checkRights(facts, settings), ...checkMessages(facts)]),
  ];
}

function examineNats(facts: Facts["nats"], { nats, service }: DoctorSettings): readonly Finding[] {
  if (facts === undefined || nats === undefined) return [];
  if (isUnreachable(facts))
    return [away("NATS_UNAVAILABLE", "NATS", facts.unreachable, "NATS_URL, or start the server")];
  return [...checkNats(facts), ...(service === "gateway" ? [] : checkLogSettings(facts, nats))];
}

const away = (code: string, subject: string, reason: string, fix: string): Finding => ({
  severity: "error",
  code,
  subject,
  reason,
  fix: setting(fix),
});
