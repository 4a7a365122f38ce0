import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { MissingServerError } from "./errors.ts";

/** Debian names the packages after their binary. */
export type ServerBinary = "nats-server" | "redis-server" | "chromium" | "prometheus";

const POLICY = "/usr/sbin/policy-rc.d";
const EXTRA_FOLDERS = ["/usr/local/bin", "/usr/sbin", "/usr/bin", "/opt/homebrew/bin"];
const HOMEBREW_FORMULA: Readonly<Record<ServerBinary, string>> = {
  "nats-server": "nats-server",
  "redis-server": "redis",
  chromium: "chromium",
  prometheus: "prometheus",
};

/** The path of a server's binary; installs it when this machine lets us, and else says what to install. */
export function findServerBinary(name: ServerBinary): string {
  const found = seekServerBinary(name);
  if (found !== undefined) return found;
  throw new MissingServerError(howToInstall(name));
}

/** As `findServerBinary`; undefined where it is missing and this machine does not let us install it. */
export function seekServerBinary(name: ServerBinary): string | undefined {
  const found = lookUp(name);
  if (found !== undefined) return found;
  installServerBinaries([name]);
  return lookUp(name);
}

/** Installs what is missing of several in one go, because refreshing the package lists is the slow part. */
export function installServerBinaries(names: readonly ServerBinary[]): void {
  const missing = names.filter((name) => lookUp(name) === undefined);
  if (missing.length === 0 || process.getuid?.() !== 0 || !existsSync("/usr/bin/apt-get")) return;
  // Debian starts a freshly installed service, on the default port, unless this file says no.
  const silencesServices = !existsSync(POLICY);
  if (silencesServices) writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    aptGet(["update"]);
    aptGet(["install", "-y", "--no-install-recommends", ...missing]);
  } finally {
    if (silencesServices) rmSync(POLICY);
  }
}

function aptGet(args: readonly string[]): void {
  // Another apt-get on this machine is waited for, as when two test runs start together.
  const options = ["-q", "-o", "DPkg::Lock::Timeout=180", "-o", "Acquire::Retries=3"];
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const result = spawnSync("apt-get", [...options, ...args], { encoding: "utf8", env });
  if (result.status !== 0) {
    const tail = `${result.stdout}${result.stderr}`.trim().split("\n").slice(-15).join("\n");
    throw new MissingServerError(`apt-get ${args.join(" ")} failed:\n${tail}`, { cause: result.error });
  }
}

function lookUp(name: ServerBinary): string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), ...EXTRA_FOLDERS];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function howToInstall(name: ServerBinary): string {
  const command =
    process.platform === "darwin" ? `brew install ${HOMEBREW_FORMULA[name]}` : `sudo apt-get install ${name}`;
  return `${name} is neither on PATH nor in ${EXTRA_FOLDERS.join(", ")}: run \`${command}\`, or start Docker for tests that need no process of their own`;
}
