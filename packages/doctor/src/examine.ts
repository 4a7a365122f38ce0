import { checkNats } from "./check-nats.ts";
import { checkRedis, checkTokens } from "./check-rest.ts";
import { checkServer } from "./check-server.ts";
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
  const { nats, redis, tokens } = settings;
  const [postgres, natsFacts, redisFacts, keys] = await Promise.all([
    collectPostgres({ ...settings, now }),
    nats === undefined ? undefined : collectNats(nats),
    redis === undefined ? undefined : collectRedis(redis.url, redis.ca),
    tokens.areVerified && tokens.keysUrl !== undefined ? collectKeys(tokens.keysUrl) : undefined,
  ]);
  return { postgres, nats: natsFacts, redis: redisFacts, keys };
}

const order: Readonly<Record<Severity, number>> = { error: 0, warning: 1, note: 2 };

/** What is wrong with these facts under these settings; the worst comes first. */
export function examine(facts: Facts, settings: DoctorSettings): readonly Finding[] {
  const { postgres, nats, redis, keys } = facts;
  const findings = [
    ...(isUnreachable(postgres)
      ? [
          away(
            "DATABASE_UNAVAILABLE",
            "PostgreSQL",
            postgres.unreachable,
            "DATABASE_URL, or DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD, DB_SSL",
          ),
        ]
      : [...checkServer(postgres, settings), ...checkSlot(postgres, settings), ...checkTables(postgres, settings)]),
    ...(nats === undefined || settings.nats === undefined
      ? []
      : isUnreachable(nats)
        ? [away("NATS_UNAVAILABLE", "NATS", nats.unreachable, "NATS_URL, or start the server")]
        : checkNats(nats, settings.nats)),
    ...(redis === undefined
      ? []
      : isUnreachable(redis)
        ? [away("REDIS_UNAVAILABLE", "Redis", redis.unreachable, "REDIS_URL, or start the server")]
        : checkRedis(redis)),
    ...checkTokens(settings.tokens, keys),
  ];
  return findings.toSorted((one, other) => order[one.severity] - order[other.severity]);
}

const away = (code: string, subject: string, reason: string, fix: string): Finding => ({
  severity: "error",
  code,
  subject,
  reason,
  fix: setting(fix),
});
