import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const here = fileURLToPath(new URL(".", import.meta.url));
const dist = join(here, "..", "dist");
/** What the page is made of. */
const sources = [
  join(here, "page"),
  join(here, "build.ts"),
  join(here, "..", "package.json"),
  join(here, "../../client/src"),
];

/**
 * The folder of the page built from the present sources. It is named by them, so that it is built once, and processes that
 * start together neither wait for nor spoil each other's.
 */
export async function buildFromSource(): Promise<string> {
  const folder = join(dist, `page-${await hashOf(sources)}`);
  if (existsSync(folder)) return folder;
  const unfinished = `${folder}.${process.pid}`;
  await mkdir(dist, { recursive: true });
  // A process of its own: Vite is no part of a service.
  await promisify(execFile)(process.execPath, [join(here, "build.ts"), unfinished]);
  await removeOthers(unfinished);
  await rename(unfinished, folder).catch(async (error: unknown) => {
    await rm(unfinished, { recursive: true, force: true });
    if (!existsSync(folder)) throw error; // else another process was faster
  });
  return folder;
}

async function hashOf(paths: readonly string[]): Promise<string> {
  const hash = createHash("sha256");
  for (const path of paths) {
    const entries =
      path.endsWith(".ts") || path.endsWith(".json") ? undefined : await readdir(path, { recursive: true });
    const files = entries === undefined ? [path] : entries.toSorted().map((entry) => join(path, entry));
    for (const file of files) {
      if (/\.(?:tsx?|css|html|svg|json)$/u.test(file) && !file.endsWith(".test.ts"))
        hash.update(file).update(await readFile(file));
    }
  }
  return hash.digest("hex").slice(0, 16);
}

/** Those of former sources, unless somebody is at work there. */
async function removeOthers(unfinished: string): Promise<void> {
  const names = await readdir(dist);
  const former = names.filter((name) => /^page-[0-9a-f]{16}$/u.test(name)).map((name) => join(dist, name));
  await Promise.all(
    former.filter((path) => path !== unfinished).map((path) => rm(path, { recursive: true, force: true })),
  );
}
