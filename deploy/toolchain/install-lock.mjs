import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ToolchainError } from "./errors.mjs";

const POLL_MS = 200;
/** A lock without an owner file is one that is being made; older than this, its maker died in between. */
const OWNERLESS_STALE_MS = 10_000;
/** For owners on another host, whose process we cannot look up. No install takes this long. */
const FOREIGN_STALE_MS = 30 * 60_000;
const GIVE_UP_MS = 20 * 60_000;

/** One install at a time per checkout. Making a folder is the one test-and-set that every file system has. */
export async function withInstallLock(repo, action) {
  const lock = join(repo, ".toolchain", "lock");
  await acquire(lock);
  // An `exit` hook as well, for errors thrown past us and process.exit() below us.
  const release = () => rmSync(lock, { recursive: true, force: true });
  process.on("exit", release);
  try {
    return await action();
  } finally {
    process.off("exit", release);
    release();
  }
}

async function acquire(lock) {
  const deadline = Date.now() + GIVE_UP_MS;
  let announced = false;
  for (;;) {
    try {
      mkdirSync(join(lock, ".."), { recursive: true });
      mkdirSync(lock);
      writeFileSync(join(lock, "owner.json"), JSON.stringify({ pid: process.pid, host: hostname() }));
      return;
    } catch (cause) {
      if (cause.code !== "EEXIST") {
        throw new ToolchainError(
          `cannot write ${lock}: ${cause.message}. Free space or repair the folder's permissions.`,
          { cause },
        );
      }
    }
    if (isStale(lock)) {
      breakLock(lock);
      continue;
    }
    if (Date.now() > deadline) {
      throw new ToolchainError(
        `another install has held ${lock} for too long. If none is running, delete that folder.`,
      );
    }
    if (!announced) console.error("walcast: waiting for another install in this checkout");
    announced = true;
    await sleep(POLL_MS);
  }
}

function isStale(lock) {
  try {
    const ageMs = Date.now() - statSync(lock).mtimeMs;
    const owner = readOwner(lock);
    if (owner === undefined) return ageMs > OWNERLESS_STALE_MS;
    return owner.host === hostname() ? !isAlive(owner.pid) : ageMs > FOREIGN_STALE_MS;
  } catch {
    // Released while we looked.
    return false;
  }
}

/** Two waiting processes may both find the lock stale; the slower one must not take the faster one's new lock away. */
function breakLock(lock) {
  const grave = `${lock}.${process.pid}.stale`;
  try {
    renameSync(lock, grave);
    if (isStale(grave)) rmSync(grave, { recursive: true, force: true });
    else renameSync(grave, lock);
  } catch {
    // Another process broke or released it.
  }
}

function readOwner(lock) {
  try {
    return JSON.parse(readFileSync(join(lock, "owner.json"), "utf8"));
  } catch {
    return undefined;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}
