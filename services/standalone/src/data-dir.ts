import { createHash } from "node:crypto";
import { mkdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";

const worldExecute = 0o001;

/**
 * The folder for the embedded database: `.walcast` here. As root PostgreSQL runs under another account, which must be able
 * to walk to its data: where a folder above is closed, a folder named after this one under `fallbackRoot` serves instead.
 */
export async function chooseDataDir(options: {
  readonly given: string | undefined;
  readonly workingDir: string;
  readonly fallbackRoot: string;
  readonly isRoot: boolean;
}): Promise<string> {
  const here = resolve(options.workingDir, options.given ?? ".walcast");
  const isUsable = !options.isRoot || options.given !== undefined || (await isWalkable(dirname(here)));
  const name = createHash("sha256").update(here).digest("hex").slice(0, 12);
  const chosen = isUsable ? here : join(options.fallbackRoot, `walcast-${name}`);
  await mkdir(chosen, { recursive: true, mode: 0o755 });
  return chosen;
}

async function isWalkable(path: string): Promise<boolean> {
  for (let at = path; ; at = dirname(at)) {
    const { mode } = await stat(at);
    if ((mode & worldExecute) === 0) return false;
    if (at === dirname(at)) return true;
  }
}
