import { openTokenVerifier, type TokenVerifier } from "@walcast/authz";
import type { Database } from "@walcast/postgres";
import {
  AccessCatalog,
  ChannelPolicies,
  channelRefusal,
  MessageHistory,
  QuestionPool,
  SchemaMissingError,
  Visibility,
  type RowSecurityError,
} from "@walcast/row-security";
import { describeError, type Health, type Logger } from "@walcast/telemetry";
import { allRights, ChannelRightsError, type ChannelRights } from "./channel-rights.ts";
import type { ReadersFor } from "./catch-up.ts";
import type { ClientConfig } from "./config.ts";
import type { GatewayMetrics } from "./metrics.ts";
import { Readers } from "./readers.ts";
import type { ReadHistory } from "./replays.ts";
import { Sights } from "./sights.ts";

export interface AuthorisationParts {
  readonly config: ClientConfig;
  readonly database: Database;
  readonly health: Health;
  readonly metrics: GatewayMetrics;
  readonly log: Logger;
}

/** Who may do what, as tokens and PostgreSQL say it; all of it `undefined` where anyone may do anything. */
export interface Authorisation {
  readonly verifyToken: TokenVerifier | undefined;
  readonly access: AccessCatalog | undefined;
  /** For those who are told why they get a change or do not. */
  readonly sights: Sights | undefined;
  readonly readersFor: ReadersFor;
  readonly channelRights: ChannelRights;
  readonly readHistory: ReadHistory;
  run(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** SECURE_CHANNELS=false: nothing is asked of anybody. */
const openToAll = (pool: QuestionPool): Authorisation => ({
  verifyToken: undefined,
  access: undefined,
  sights: undefined,
  readersFor: () => undefined,
  channelRights: () => Promise.resolve(allRights),
  readHistory: historyOf(pool),
  run: () => Promise.resolve(),
  close: () => pool.close(),
});

function historyOf(pool: QuestionPool): ReadHistory {
  const history = new MessageHistory(pool);
  return (question, options) => history.read(question, options);
}

/** Throws JwtKeysMissingError. */
export function openAuthorisation({ config, database, health, metrics, log }: AuthorisationParts): Authorisation {
  const pool = new QuestionPool({
    database,
    size: config.DB_POOL_SIZE,
    queueLimit: config.POLICY_QUEUE_LIMIT,
    timeoutMs: config.POLICY_TIMEOUT_MS,
  });
  if (!config.SECURE_CHANNELS) {
    log.warn("SECURE_CHANNELS=false: anyone who can connect reads every published change");
    return openToAll(pool);
  }
  const verifyToken = openTokenVerifier(config, {
    onTrouble: (trouble) => {
      if (trouble !== undefined) log.warn(describeError(trouble), "fetching the keys of tokens failed");
    },
  });
  let isTroubled = false;
  const catalog = new AccessCatalog({
    database,
    pollMs: config.ACCESS_POLL_MS,
    staleMs: config.ACCESS_STALE_MS,
    onTrouble: (trouble) => {
      if (trouble !== undefined && !isTroubled) {
        log.warn(describeError(trouble), "rights cannot be looked up: changes that depend on them wait");
      }
      isTroubled = trouble !== undefined;
    },
  });
  health.fact("rights", () => (isTroubled ? "cannot be looked up" : "known"));
  const visibility = new Visibility({
    catalog,
    pool,
    onQuestion: ({ seconds, failed }) =>
      metrics.questions.observe({ outcome: failed ? "failed" : "answered" }, seconds),
  });
  const policies = new ChannelPolicies({
    pool,
    cacheMs: config.POLICY_CACHE_MS,
    onDenied: (error, { subtopic }) => log.warn({ subtopic, ...describeError(error) }, "a private channel was denied"),
  });
  catalog.onChange(() => policies.forget());
  return {
    verifyToken,
    access: catalog,
    sights: new Sights({ catalog, visibility }),
    readersFor: (options) => new Readers({ ...options, catalog, visibility, metrics }),
    channelRights: async ({ subtopic, claims, headers }) => {
      if (claims === undefined) return allRights;
      try {
        return await policies.grants({ subtopic, claims, ...(headers === undefined ? {} : { headers }) });
      } catch (error) {
        if (error instanceof SchemaMissingError) log.warn(describeError(error), "a private channel was refused");
        throw new ChannelRightsError(channelRefusal(error as RowSecurityError), { cause: error });
      }
    },
    readHistory: historyOf(pool),
    run: (signal) => catalog.run(signal),
    async close() {
      await Promise.all([catalog.close(), pool.close()]);
    },
  };
}
