import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/**
 * Stops a PostgreSQL that still runs on this data directory, as after a power cut of its host process (SIGKILL). Throws when
 * its host process lives: it is another walcast's.
 */
export async function stopLeftover(databaseDir: string): Promise<void> {
  const pid = await readPid(databaseDir);
  if (pid === undefined || !(await isPostgres(pid))) return;
  if (await isHosted(pid))
    throw new Error(
      `another walcast runs on ${databaseDir}: stop it, or give this one a DATA_DIR and ports of its own`,
    );
  process.kill(pid, "SIGINT"); // fast shutdown
  for (let i = 0; i < 100 && (await isPostgres(pid)); i++) await delay(100);
}

async function readPid(databaseDir: string): Promise<number | undefined> {
  try {
    const [first] = (await readFile(join(databaseDir, "postmaster.pid"), "utf8")).split("\n");
    const pid = Number(first);
    return Number.isInteger(pid) && pid > 1 ? pid : undefined;
  } catch {
    return undefined; // no file: nothing runs
  }
}

/** The number may belong to another program by now. */
async function isPostgres(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
    return process.platform !== "linux" || (await readFile(`/proc/${pid}/comm`, "utf8")).startsWith("postgres");
  } catch {
    return false;
  }
}

/** Its parent is a host process (postgres-host.ts); told on Linux alone. */
async function isHosted(pid: number): Promise<boolean> {
  try {
    const [, parent] = /^PPid:\s*(\d+)/mu.exec(await readFile(`/proc/${pid}/status`, "utf8")) ?? [];
    return (await readFile(`/proc/${parent}/cmdline`, "utf8")).includes("postgres-host");
  } catch {
    return false;
  }
}
