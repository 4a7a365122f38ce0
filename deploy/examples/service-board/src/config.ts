export interface Config {
  readonly databaseUrl: string;
  readonly realtimeUrl: string;
  readonly realtimeApiKey: string | undefined;
  readonly host: string;
  readonly port: number;
}

/** A setting this server cannot start with. All of them are named at once. */
export class ConfigError extends Error {
  readonly code = "CONFIG_INVALID";
}

const isUrlOf = (text: string, protocols: readonly string[]): boolean =>
  URL.canParse(text) && protocols.includes(new URL(text).protocol);

/** Reads the environment; an empty variable counts as one that is not set. The defaults are what `npm start` offers. */
export function readConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const databaseUrl = env["DATABASE_URL"] || "postgres://postgres:postgres@127.0.0.1:54329/postgres";
  const realtimeUrl = env["REALTIME_URL"] || "ws://127.0.0.1:4000/socket";
  const portText = env["PORT"] || "3000";
  const port = Number(portText);

  const problems: string[] = [];
  if (!isUrlOf(databaseUrl, ["postgres:", "postgresql:"])) {
    problems.push("DATABASE_URL must look like postgres://user:password@host:5432/database");
  }
  if (!isUrlOf(realtimeUrl, ["ws:", "wss:"])) {
    problems.push(`REALTIME_URL must look like ws://host:4000/socket, not ${JSON.stringify(realtimeUrl)}`);
  }
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    problems.push(`PORT must be a whole number up to 65535, not ${JSON.stringify(portText)}`);
  }
  if (problems.length > 0) throw new ConfigError(problems.join("; "));

  return Object.freeze({
    databaseUrl,
    // The client appends "/websocket" itself.
    realtimeUrl: realtimeUrl.replace(/\/+$/u, ""),
    realtimeApiKey: env["REALTIME_APIKEY"] || undefined,
    host: env["HOST"] || "127.0.0.1",
    port,
  });
}
