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

/** What clients meet: the same for the gateway and for standalone. */
export const clientSettings = {
  PORT: integer("Port that clients connect to.", { default: 4000, min: 1, max: 65_535 }),
  HOST: optionalText("Address to listen on.", "0.0.0.0; standalone without JWT_SECRET: 127.0.0.1"),
  SECURE_CHANNELS: flag("Tokens are verified at connect and join; `false` accepts anyone, for development.", {
    default: true,
  }),
  JWT_SECRET: secret("Shared secret of HS256, HS384 and HS512 tokens; required unless SECURE_CHANNELS=false."),
  JWT_CLAIM_VALIDATORS: json("Claims that tokens must have, with their values, as a JSON object.", {
    shape: z.record(z.string(), z.unknown()),
    default: "{}",
  }),
  PUBLICATIONS: json("Publications whose tables can be subscribed to, as a JSON array.", {
    shape: z.array(z.string().min(1)).min(1),
    default: '["supabase_realtime"]',
  }),
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
  MAX_PAYLOAD_KB: integer("A broadcast with a larger payload is refused; 0: any size that a frame can have.", {
    default: 3000,
    unit: "KB",
  }),
  TENANT_MAX_EVENTS_PER_SECOND: integer(
    "Broadcasts over HTTP that one gateway takes, per second on average over a minute; 0: any number.",
    { default: 100 },
  ),
  MAX_RECORD_BYTES: integer("Of a change with larger records only short values are sent, with an error; 0: off.", {
    default: 1_048_576,
    unit: "bytes",
  }),
  OUTBOX_LIMIT_BYTES: integer("A client that has this much unread is closed: it is too slow.", {
    default: 67_108_864,
    min: 65_536,
    unit: "bytes",
  }),
};

export const gatewaySettings = {
  ...databaseSettings,
  ...clientSettings,
  NATS_URL: secret("NATS servers, separated by commas.", { default: "nats://localhost:4222" }),
  SOURCE_NAME: text("Names the source database in the change log; the same for ingesters and gateways.", {
    default: "default",
  }),
  DRAIN_MS: integer("Connections are closed over this time when the gateway stops.", { default: 20_000, unit: "ms" }),
  LOG_LEVEL: text("trace, debug, info, warn, error.", { default: "info" }),
  LOG_FORMAT: choice("How log lines look.", { of: ["json", "text"], default: "json" }),
};

export type ClientConfig = Config<typeof clientSettings>;

export const readConfig = (environment: Environment = process.env): Config<typeof gatewaySettings> =>
  loadConfig(gatewaySettings, environment, { ownPrefix: "GATEWAY_" });
