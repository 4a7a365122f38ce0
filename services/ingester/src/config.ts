import {
  choice,
  flag,
  integer,
  json,
  loadConfig,
  optionalText,
  secret,
  text,
  z,
  type Config,
  type Environment,
} from "@walcast/config";
import { databaseSettings } from "@walcast/postgres";
import { tracingSettings } from "@walcast/telemetry";

/** What is read from PostgreSQL, and how it is cut to batches: the same for the ingester and for standalone. */
export const replicationSettings = {
  SLOT_NAME: text("The replication slot; created when missing, and permanent.", { default: "walcast" }),
  PUBLICATIONS: json("Publications whose changes are streamed, as a JSON array.", {
    shape: z.array(z.string().min(1)).min(1),
    default: '["supabase_realtime"]',
  }),
  CREATE_PUBLICATION: flag("Create a missing publication FOR ALL TABLES (needs a superuser; for development).", {
    default: false,
  }),
  BATCH_BYTES: integer("Largest batch of changes in the log.", {
    default: 262_144,
    min: 1024,
    max: 33_554_432,
    unit: "bytes",
  }),
  MAX_REPLICATION_LAG_MB: integer(
    "Above this lag the slot is dropped and made anew, and clients are told of the gap; 0: never.",
    {
      default: 0,
      unit: "MB",
    },
  ),
  TAKEOVER_LIMIT_MS: integer("A leader that is silent this long is ended by a standby.", {
    default: 3000,
    min: 500,
    unit: "ms",
  }),
  PUBLISH_WINDOW_BYTES: integer("Batches in flight to the log before reading waits.", {
    default: 8_388_608,
    min: 1024,
    unit: "bytes",
  }),
};

/** The change log on NATS, as both services reach it. */
export const changeLogSettings = {
  NATS_URL: secret("NATS servers, separated by commas.", { default: "nats://localhost:4222" }),
  SOURCE_NAME: text("Names the source database in the change log; the same for ingesters and gateways.", {
    default: "default",
  }),
};

export const ingesterSettings = {
  ...databaseSettings,
  ...replicationSettings,
  ...changeLogSettings,
  LOG_RETENTION_MS: integer("How long the change log keeps history.", { default: 3_600_000, min: 1000, unit: "ms" }),
  LOG_RETENTION_BYTES: integer("How much history the change log keeps.", {
    default: 2_147_483_648,
    min: 1_048_576,
    unit: "bytes",
  }),
  LOG_REPLICAS: integer("Copies of the change log: 1, or 3 on a NATS cluster.", { default: 1, min: 1, max: 5 }),
  NATS_SYNC_INTERVAL_MS: integer(
    "The NATS server's `sync_interval`: positions are confirmed to PostgreSQL that much later.",
    {
      default: 120_000,
      unit: "ms",
    },
  ),
  NATS_MONITOR_URL: optionalText(
    "The NATS server's monitoring endpoint, to read `sync_interval` from (nats-server 2.12 and later).",
  ),
  NATS_ACK_TIMEOUT_MS: integer("How long the change log may take to acknowledge.", {
    default: 5000,
    min: 100,
    unit: "ms",
  }),
  INGESTER_HOST: text("Address of `/healthz` and `/metrics`.", { default: "0.0.0.0" }),
  INGESTER_PORT: integer("Port of `/healthz` and `/metrics`.", { default: 4001, max: 65_535 }),
  DRAIN_MS: integer("How long stopping may take.", { default: 5000, unit: "ms" }),
  ...tracingSettings,
  LOG_LEVEL: choice("Least severe lines that are written.", {
    of: ["trace", "debug", "info", "warn", "error", "fatal", "silent"],
    default: "info",
  }),
  LOG_FORMAT: choice("How log lines look.", { of: ["json", "text"], default: "json" }),
};

export type ReplicationConfig = Config<typeof replicationSettings>;

export const readConfig = (environment: Environment = process.env): Config<typeof ingesterSettings> =>
  loadConfig(ingesterSettings, environment, { ownPrefix: "INGESTER_" });
