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
import { tokenSettings } from "@walcast/authz";
import { databaseSettings } from "@walcast/postgres";
import { rowSecuritySettings } from "@walcast/row-security";
import { snapshotSettings } from "@walcast/snapshot";
import { tracingSettings } from "@walcast/telemetry";

/** What clients meet: the same for the gateway and for standalone. */
export const clientSettings = {
  PORT: integer("Port that clients connect to.", { default: 4000, min: 1, max: 65_535 }),
  HOST: optionalText("Address to listen on.", "0.0.0.0; standalone without keys for tokens: 127.0.0.1"),
  SECURE_CHANNELS: flag("Tokens are verified at connect and join; `false` accepts anyone, for development.", {
    default: true,
  }),
  ...tokenSettings,
  ...rowSecuritySettings,
  ...snapshotSettings,
  PUBLICATIONS: json("Publications whose tables can be subscribed to, as a JSON array.", {
    shape: z.array(z.string().min(1)).min(1),
    default: '["supabase_realtime"]',
  }),
  MIGRATE: flag(
    "Brings schema `realtime` up to date at start, as `walcast migrate` does: the role becomes its owner, or is it already.",
    { default: false },
  ),
  IDLE_TIMEOUT_MS: integer("A connection that sends nothing for this long is closed.", {
    default: 60_000,
    min: 1000,
    unit: "ms",
  }),
  MAX_FRAME_BYTES: integer("A larger frame from a client closes its connection with 1009.", {
    default: 5_000_000,
    min: 1024,
    max: 16_777_216,
    unit: "bytes",
  }),
  NO_CHANNEL_TIMEOUT_IN_MS: integer("A connection that had channels and has none for this long is closed; 0: off.", {
    default: 600_000,
    unit: "ms",
  }),
  CONNECT_ERROR_BACKOFF_MS: integer("A refused connection is answered after this long.", { default: 0, unit: "ms" }),
  CHANNEL_ERROR_BACKOFF_MS: integer("A refused join is answered after this long; other frames do not wait for it.", {
    default: 0,
    unit: "ms",
  }),
  MAX_PAYLOAD_KB: integer(
    "A broadcast with a larger payload is refused, a larger presence ends its channel; 0: any size that a frame can have.",
    { default: 3000, unit: "KB" },
  ),
  INSPECTOR: flag(
    "Serves the inspector under `/inspector`, and tells channels that ask for it why they get a change or do not; standalone: true.",
    { default: false },
  ),
  INSPECTOR_ROLES: json("Roles whose tokens may list the topics of a gateway in the inspector, as a JSON array.", {
    shape: z.array(z.string().min(1)),
    default: '["service_role"]',
  }),
  PRESENCE_ENABLED: flag(
    "Channels are told who is present without asking for it, as older clients need it (realtime-js 2.10).",
    {
      default: false,
    },
  ),
  CLIENT_PRESENCE_MAX_CALLS: integer(
    "Presence calls of one channel within CLIENT_PRESENCE_WINDOW_MS; one more ends the channel. 0: any number.",
    { default: 5 },
  ),
  CLIENT_PRESENCE_WINDOW_MS: integer("See CLIENT_PRESENCE_MAX_CALLS.", { default: 30_000, min: 1, unit: "ms" }),
  TENANT_MAX_PRESENCE_EVENTS_PER_SECOND: integer(
    "Presence calls and their deliveries, as TENANT_MAX_EVENTS_PER_SECOND; 0: any number. Hosted plans have 20 to 1000.",
    { default: 0 },
  ),
  TENANT_MAX_EVENTS_PER_SECOND: integer(
    "Broadcasts and their deliveries per second, on average over a minute, in all gateways; beyond it a channel that sends " +
      "is ended, HTTP answers 429, and changes of the database go on. 0: any number. Hosted plans have 100 to 2500.",
    { default: 0 },
  ),
  TENANT_MAX_JOINS_PER_SECOND: integer(
    "Joins per second, on average over a minute, in all gateways; 0: any number. Hosted plans have 100 to 2500.",
    { default: 0 },
  ),
  TENANT_MAX_CHANNELS_PER_CLIENT: integer("Channels of one connection; 0: any number.", { default: 100 }),
  TENANT_MAX_CONCURRENT_USERS: integer(
    "Connections with a channel, in all gateways; 0: any number. Hosted plans have 200 to 10000.",
    { default: 0 },
  ),
  MAX_CONNECTIONS: integer("Connections to one gateway; more are refused with 503. 0: any number.", {
    default: 100_000,
  }),
  MAX_RECORD_BYTES: integer("Of a change with larger records only short values are sent, with an error; 0: off.", {
    default: 1_048_576,
    unit: "bytes",
  }),
  RESUME_MEMORY_BYTES: integer("The newest changes are kept in memory up to this size, for clients that come back.", {
    default: 33_554_432,
    min: 1_048_576,
    unit: "bytes",
  }),
  RESUMES_PER_SECOND: integer("Channels that may begin to catch up, per second; others wait for their turn.", {
    default: 2_000,
    min: 1,
  }),
  RESUME_REMEMBER_MS: integer(
    "How long a client with a `resume` id may be away and go on where it was; 0: ids are ignored. Shared by gateways with REDIS_URL.",
    { default: 600_000, unit: "ms" },
  ),
  OUTBOX_LIMIT_BYTES: integer("A client that has this much unread gets that and is closed with 1013: it is too slow.", {
    default: 67_108_864,
    min: 65_536,
    unit: "bytes",
  }),
  COMPRESS_ABOVE_BYTES: integer(
    "Frames above this are compressed for clients that offer it, which all share one compressor's memory; it costs CPU for each client. 0: off.",
    { default: 0, unit: "bytes" },
  ),
};

export const gatewaySettings = {
  ...databaseSettings,
  ...clientSettings,
  NATS_URL: secret("NATS servers, separated by commas.", { default: "nats://localhost:4222" }),
  REDIS_URL: secret(
    "Redis, as `redis://` or `rediss://`, for presence, limits and resume ids of all gateways together. Without it each gateway has its own.",
  ),
  REDIS_SSL_CA_CERT: optionalText("Path of the CA certificate to verify `rediss://` with; else the system's."),
  PRESENCE_LEASE_MS: integer("The members of a gateway that dies leave within this time; renewed three times in it.", {
    default: 10_000,
    min: 500,
    unit: "ms",
  }),
  SOURCE_NAME: text("Names the source database in the change log; the same for ingesters and gateways.", {
    default: "default",
  }),
  METRICS_PORT: integer(
    "Port of `/livez`, `/healthz`, `/readyz` and `/metrics` beside PORT, which need not be open to clients; 0: PORT alone.",
    { default: 0, max: 65_535 },
  ),
  DRAIN_MS: integer("Connections are closed over this time when the gateway stops.", { default: 20_000, unit: "ms" }),
  ...tracingSettings,
  LOG_LEVEL: choice("Least severe lines that are written.", {
    of: ["trace", "debug", "info", "warn", "error", "fatal", "silent"],
    default: "info",
  }),
  LOG_FORMAT: choice("How log lines look.", { of: ["json", "text"], default: "json" }),
};

export type ClientConfig = Config<typeof clientSettings>;

export const readConfig = (environment: Environment = process.env): Config<typeof gatewaySettings> =>
  loadConfig(gatewaySettings, environment, { ownPrefix: "GATEWAY_" });
