import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runChild } from "./child.mjs";
import { explainFailure, InterruptedError, ToolchainError } from "./errors.mjs";
import { withInstallLock } from "./install-lock.mjs";

/** Inside node_modules, so that deleting node_modules deletes it too. */
const STAMP = join("node_modules", ".walcast-install-stamp");

/** Installs the workspace's dependencies when they are missing or belong to another lockfile. */
export async function ensureDependencies(repo, env) {
  if (isCurrent(repo)) return;
  await withInstallLock(repo, async () => {
    if (isCurrent(repo)) return;
    console.error("walcast: installing dependencies");
    const wanted = fingerprint(repo);
    // Without a terminal pnpm refuses to replace a node_modules made by another layout unless told to.
    const args = ["install", "--frozen-lockfile", "--reporter=append-only", "--config.confirmModulesPurge=false"];
    const result = await runChild("pnpm", args, { env: { ...env, CI: "true" }, cwd: repo, stdio: "capture" });
    if (result.interruptedBy !== undefined) throw new InterruptedError(result.interruptedBy);
    if (result.code !== 0) throw new ToolchainError(explainFailure("installing dependencies with pnpm", result.output));
    writeFileSync(join(repo, STAMP), wanted);
  });
}

function isCurrent(repo) {
  const stamp = join(repo, STAMP);
  return existsSync(stamp) && readFileSync(stamp, "utf8") === fingerprint(repo);
}

/** Everything `pnpm install --frozen-lockfile` reads, and the platform its binaries were chosen for. */
function fingerprint(repo) {
  const hash = createHash("sha256").update(`${process.platform} ${process.arch}\n`);
  for (const file of ["pnpm-lock.yaml", "pnpm-workspace.yaml", "package.json", ...memberManifests(repo)]) {
    hash.update(`${file}\n`).update(readFileSync(join(repo, file)));
  }
  return hash.digest("hex");
}

/** The `packages:` list of pnpm-workspace.yaml holds folders and `folder/*`; a YAML parser would be our only dependency. */
function memberManifests(repo) {
  const yaml = readFileSync(join(repo, "pnpm-workspace.yaml"), "utf8");
  const list = /^packages:\n((?:[ \t]+-.*\n|[ \t]*(?:#.*)?\n)+)/mu.exec(yaml)?.[1] ?? "";
  const patterns = [...list.matchAll(/^[ \t]+-[ \t]*["']?([^"'#\s]+)/gmu)].map((match) => match[1]);
  return patterns
    .flatMap((pattern) => (pattern.endsWith("/*") ? subfolders(repo, pattern.slice(0, -2)) : [pattern]))
    .map((folder) => `${folder}/package.json`)
    .filter((manifest) => existsSync(join(repo, manifest)))
    .sort();
}

function subfolders(repo, parent) {
  if (!existsSync(join(repo, parent))) return [];
  return readdirSync(join(repo, parent)).map((name) => `${parent}/${name}`);
}
