import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { MissingServerError } from "./errors.ts";

/** Debian names the packages after their binary. */
export type ServerBinary = "nats-server" | "redis-server" | "chromium" | "prometheus";

/** One test process installs at a time: `apt-get update` does not wait for another one, as `install` does. */
const INSTALL_LOCK = "/run/lock/walcast-apt-get";
/** Debian starts a freshly installed service, on the default port, unless policy-rc.d says no. */
const INSTALL = `
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    trap "rm -f $policy" EXIT
    printf '#!/bin/sh\\nexit 101\\n' > $policy
    chmod 755 $policy
  fi
  apt="apt-get -q -o DPkg::Lock::Timeout=180 -o Acquire::Retries=3"
  $apt update
  $apt install -y --no-install-recommends "$@"`;
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
  const result = spawnSync("flock", [INSTALL_LOCK, "sh", "-ec", INSTALL, "sh", ...missing], {
    encoding: "utf8",
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  });
  if (result.status !== 0) {
    const tail = `${result.stdout}${result.stderr}`.trim().split("\n").slice(-15).join("\n");
    throw new MissingServerError(`apt-get install ${missing.join(" ")} failed:\n${tail}`, { cause: result.error });
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
