import { tmpdir } from "node:os";
import { choice, flag, integer, loadConfig, optionalText, type Config, type Environment } from "@walcast/config";
import { clientSettings } from "@walcast/gateway";
import { replicationSettings } from "@walcast/ingester";
import { databaseSettings } from "@walcast/postgres";
import { tracingSettings } from "@walcast/telemetry";

export const standaloneSettings = {
  ...databaseSettings,
  ...replicationSettings,
  ...clientSettings,
  INSPECTOR: flag("Serves the inspector under `/inspector`.", { default: true }),
  ALLOW_OPEN: flag("Let anyone in on an address other than loopback, although no token is verified.", {
    default: false,
  }),
  DATA_DIR: optionalText("Where the embedded PostgreSQL keeps its data.", "`.walcast` in the working directory"),
  EMBEDDED_POSTGRES_PORT: integer("Port of the embedded PostgreSQL, used when no database is given.", {
    default: 54_329,
    min: 1,
    max: 65_535,
  }),
  DRAIN_MS: integer("How long stopping may take.", { default: 5000, unit: "ms" }),
  ...tracingSettings,
  LOG_LEVEL: choice("Least severe lines that are written.", {
    of: ["trace", "debug", "info", "warn", "error", "fatal", "silent"],
    default: "info",
  }),
  LOG_FORMAT: choice("How log lines look.", { of: ["json", "text"], default: "text" }),
};

export type StandaloneConfig = Config<typeof standaloneSettings>;

/** Standalone refuses to be open to the network by accident. Operator: the message names the three ways out. */
export class OpenServerError extends Error {
  readonly code = "OPEN_SERVER";
  constructor(host: string) {
    super(
      `tokens are not verified and HOST is ${host}: anyone in the network could read the database; ` +
        "set JWT_SECRET (or JWT_JWKS, JWT_JWKS_URL), or HOST=127.0.0.1, or ALLOW_OPEN=true if that is what you want",
    );
  }
}

export interface Standalone {
  readonly config: StandaloneConfig;
  /** A database was named; otherwise standalone runs its own. */
  readonly isDatabaseGiven: boolean;
  readonly host: string;
}

const loopback = new Set(["127.0.0.1", "::1", "localhost"]);

/**
 * Reads the environment. Without keys for tokens, and without SECURE_CHANNELS being asked for, it is open, and then on
 * loopback only. Throws ConfigError and OpenServerError.
 */
export function readStandalone(environment: Environment = process.env): Standalone {
  const isGiven = (name: string): boolean => Boolean(environment[name]) || Boolean(environment[`${name}_FILE`]);
  const hasKeys = ["JWT_SECRET", "JWT_JWKS", "JWT_JWKS_URL"].some(isGiven);
  const isOpenByDefault = !hasKeys && environment["SECURE_CHANNELS"] === undefined;
  const config = loadConfig(
    standaloneSettings,
    isOpenByDefault ? { ...environment, SECURE_CHANNELS: "false" } : environment,
  );
  const isDatabaseGiven = ["DATABASE_URL", "DATABASE_URL_FILE", "DB_HOST"].some((name) => Boolean(environment[name]));
  const host = config.HOST ?? (config.SECURE_CHANNELS ? "0.0.0.0" : "127.0.0.1");
  if (!config.SECURE_CHANNELS && !loopback.has(host) && !config.ALLOW_OPEN) throw new OpenServerError(host);
  return { config, isDatabaseGiven, host };
}

/** Where data may go when the working directory is closed to the account PostgreSQL runs as. */
export const fallbackDataRoot = (): string => (process.platform === "linux" ? "/var/tmp" : tmpdir());
