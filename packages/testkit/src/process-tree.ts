import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

interface ProcessRow {
  readonly pid: number;
  readonly parent: number;
  readonly isZombie: boolean;
}

/** The process and all its descendants, ancestors first. */
export function processTree(root: number): readonly number[] {
  const rows = processTable();
  const tree = [root];
  for (const pid of tree) tree.push(...rows.filter((row) => row.parent === pid).map((row) => row.pid));
  return tree;
}

/** Zombies count as dead: where process 1 does not reap orphans they stay in the table for good. */
export function isRunning(pid: number): boolean {
  return processTable().some((row) => row.pid === pid && !row.isZombie);
}

/** Sends a signal to each process; those already gone are passed over. */
export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if (!isNoSuchProcess(error)) throw error;
    }
  }
}

/**
 * SIGKILLs a process with all its descendants. PostgreSQL's backends outlive their postmaster for a moment and still
 * write; a test that says "the server crashed" means none of them does.
 */
export function killTree(root: number): readonly number[] {
  // Stopped first, so that it forks nothing between the listing and the kill.
  signalAll([root], "SIGSTOP");
  const tree = processTree(root);
  signalAll(tree, "SIGKILL");
  return tree;
}

function isNoSuchProcess(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ESRCH";
}

function processTable(): readonly ProcessRow[] {
  // Slim images have no `ps`.
  return process.platform === "linux" ? readProc() : askPs();
}

function readProc(): readonly ProcessRow[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/u.test(name)) return [];
    try {
      // pid (name) state ppid …; the name may itself hold spaces and parentheses.
      const [state, parent] = readFileSync(`/proc/${name}/stat`, "utf8")
        .replace(/^.*\) /su, "")
        .split(" ");
      return [{ pid: Number(name), parent: Number(parent), isZombie: state === "Z" }];
    } catch {
      // Ended between the listing and the reading.
      return [];
    }
  });
}

function askPs(): readonly ProcessRow[] {
  const { stdout } = spawnSync("ps", ["-A", "-o", "pid=,ppid=,stat="], { encoding: "utf8" });
  return stdout
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/u))
    .map(([pid, parent, state]) => ({
      pid: Number(pid),
      parent: Number(parent),
      isZombie: state?.startsWith("Z") ?? false,
    }));
}
