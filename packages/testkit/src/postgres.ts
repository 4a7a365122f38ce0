import { spawnSync } from "node:child_process";
import { chownSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Client } from "pg";
import { MissingServerError } from "./errors.ts";
import { freePort } from "./free-port.ts";
import { LineProcess } from "./line-process.ts";
import {
  chosenPostgres,
  executableBinaries,
  newestPostgres,
  type Account,
  type PostgresVersion,
} from "./postgres-binaries.ts";
import { dataDirectory, runServer, type ServerProcess } from "./server-process.ts";
import { waitUntil } from "./wait-until.ts";

const USER = "postgres";
const PASSWORD = "postgres";

/** What every PostgreSQL started for tests runs with, in a container or not. */
export const POSTGRES_DEFAULT_FLAGS: readonly string[] = flags({
  wal_level: "logical",
  max_wal_senders: "50",
  max_replication_slots: "50",
  max_connections: "200",
  fsync: "off",
});

export interface PostgresOptions {
  /** Major version; else what `WALCAST_TEST_POSTGRES` says, else the newest. */
  readonly version?: PostgresVersion;
  readonly port?: number;
  /** Kept by `stop()` when given. Every folder above it must be traversable for the user that PostgreSQL runs as. */
  readonly dataDir?: string;
  /** Appended to the defaults, so that a later `-c name=value` wins: `["-c", "fsync=on"]`. */
  readonly postgresFlags?: readonly string[];
}

/** Starts a PostgreSQL of its own with logical decoding on. */
export async function startPostgres(options: PostgresOptions = {}): Promise<ServerProcess> {
  const port = options.port ?? (await freePort());
  const account = unprivilegedAccount();
  const binaries = executableBinaries(options.version ?? chosenPostgres() ?? newestPostgres, account);
  const dataDir = dataDirectory("postgres", options.dataDir);
  const cluster = join(dataDir.path, "cluster");
  if (!existsSync(join(cluster, "PG_VERSION"))) createCluster({ binaries, cluster, account });

  const url = `postgres://${USER}:${PASSWORD}@127.0.0.1:${port}/postgres`;
  const flagsHere = flags({ listen_addresses: "127.0.0.1", unix_socket_directories: cluster });
  const args = [
    "-D",
    cluster,
    "-p",
    String(port),
    ...flagsHere,
    ...POSTGRES_DEFAULT_FLAGS,
    ...(options.postgresFlags ?? []),
  ];
  return runServer({
    url,
    port,
    dataDir,
    gracefulSignal: "SIGINT",
    quickSignal: "SIGQUIT",
    start: async () => {
      const server = new LineProcess({
        name: `PostgreSQL on port ${port}`,
        command: join(binaries, "postgres"),
        args,
        env: serverEnvironment(),
        ...account,
      });
      try {
        await server.waitForLine(/database system is ready to accept (read-only )?connections/, { timeoutMs: 60_000 });
      } catch (error) {
        await server.kill9();
        throw error;
      }
      return server;
    },
  });
}

/** Resolves when the server answers a query; an open port alone does not say so. */
export async function waitForPostgres(url: string, timeoutMs: number): Promise<void> {
  const answer = async (): Promise<boolean> => {
    const client = new Client({ connectionString: url });
    // A server that restarts at the end of its initialisation also breaks connections between queries.
    client.on("error", () => {});
    await client.connect();
    try {
      await client.query("SELECT 1");
      return true;
    } finally {
      await client.end();
    }
  };
  await waitUntil(answer, { what: `PostgreSQL at ${url} to answer`, timeoutMs, intervalMs: 100 });
}

/** The major version of the server that answers there. */
export async function postgresVersionOf(url: string): Promise<number> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<{ number: number }>(
      "SELECT current_setting('server_version_num')::int AS number",
    );
    return Math.trunc((rows[0]?.number ?? 0) / 10_000);
  } finally {
    await client.end();
  }
}

function flags(settings: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
}

function createCluster({ binaries, cluster, account }: { binaries: string; cluster: string; account: Account }): void {
  mkdirSync(cluster, { recursive: true });
  // initdb insists on owning an empty folder nobody else can read, so the password waits beside it.
  const passwordFile = `${cluster}.password`;
  writeFileSync(passwordFile, `${PASSWORD}\n`);
  if (account.uid !== undefined && account.gid !== undefined) chownSync(cluster, account.uid, account.gid);
  const encoding = ["--encoding=UTF8", "--locale=C", "--no-sync"];
  const args = [
    `--pgdata=${cluster}`,
    `--username=${USER}`,
    `--pwfile=${passwordFile}`,
    "--auth=scram-sha-256",
    ...encoding,
  ];
  const result = spawnSync(join(binaries, "initdb"), args, { encoding: "utf8", env: serverEnvironment(), ...account });
  rmSync(passwordFile);
  if (result.status !== 0) throw new Error(`initdb failed for ${cluster}: ${result.stderr}`, { cause: result.error });
}

/** LC_MESSAGES keeps the line we wait for in English. */
function serverEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" };
}

/** PostgreSQL refuses to run as root; then it gets the account that every distribution's package would create. */
function unprivilegedAccount(): Account {
  if (process.getuid?.() !== 0) return {};
  const existing = lookUpAccount();
  if (existing !== undefined) return existing;
  spawnSync("useradd", ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "postgres"]);
  const created = lookUpAccount();
  if (created !== undefined) return created;
  throw new MissingServerError(
    "PostgreSQL does not run as root and no `postgres` account could be created: run the tests as another user, or create it",
  );
}

function lookUpAccount(): Account | undefined {
  const [uid, gid] = ["-u", "-g"].map((flag) =>
    spawnSync("id", [flag, "postgres"], { encoding: "utf8" }).stdout.trim(),
  );
  if (uid === undefined || gid === undefined || uid === "" || gid === "") return undefined;
  return { uid: Number(uid), gid: Number(gid) };
}
