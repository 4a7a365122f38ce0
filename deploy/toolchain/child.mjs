import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { ToolchainError } from "./errors.mjs";

const FORWARDED = ["SIGINT", "SIGTERM", "SIGHUP"];
/** npm repeats to its script what the terminal has already told the whole group; a person's second Ctrl-C is slower. */
const REPEAT_WINDOW_MS = 300;
const PARENT_POLL_MS = 500;
const OUTPUT_LIMIT = 64 * 1024;

const parent = process.ppid;

/**
 * Runs a child to its end and hands on the signals that reach only us.
 *
 * The child stays in our process group, so that Ctrl-C, Ctrl-Z and the terminal's input keep their usual meaning.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ env: NodeJS.ProcessEnv, cwd?: string, stdio: "inherit" | "capture" }} options
 * @returns {Promise<{ code?: number, signal?: string, output: string, interruptedBy?: string }>}
 */
export function runChild(command, args, { env, cwd, stdio }) {
  return new Promise((resolve, reject) => {
    let output = "";
    let interruptedBy;
    const forwardedAt = new Map();

    const onSignal = (signal) => {
      interruptedBy = signal;
      const now = Date.now();
      const repeated = now - (forwardedAt.get(signal) ?? 0) < REPEAT_WINDOW_MS;
      forwardedAt.set(signal, now);
      if (!repeated && !terminalTellsGroup(signal)) child.kill(signal);
    };
    // Before the spawn: a signal between the two would otherwise end us and leave the child.
    for (const signal of FORWARDED) process.on(signal, onSignal);
    const orphanWatch = watchNpm(() => onSignal("SIGTERM"));
    const finish = () => {
      clearInterval(orphanWatch);
      for (const signal of FORWARDED) process.off(signal, onSignal);
    };

    // Only cmd.exe can start the .cmd shims that npm and pnpm write on Windows.
    const shell = process.platform === "win32" && !command.endsWith(".exe");
    const child = spawn(command, args, {
      env,
      cwd,
      shell,
      stdio: stdio === "inherit" ? "inherit" : ["ignore", "pipe", "pipe"],
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text) => {
        output = (output + text).slice(-OUTPUT_LIMIT);
      });
    }
    child.on("error", (cause) => {
      finish();
      reject(new ToolchainError(explainSpawnError(command, cause), { cause }));
    });
    child.on("close", (code, signal) => {
      finish();
      resolve({ code: code ?? undefined, signal: signal ?? undefined, output, interruptedBy });
    });
  });
}

/** `kill` on npm ends the shell between npm and us, and that shell passes nothing on: a new parent is all we get to see. */
function watchNpm(onOrphaned) {
  if (process.env.npm_lifecycle_event === undefined) return undefined;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    onOrphaned();
  }, PARENT_POLL_MS);
  return timer;
}

/** Ends this process the way the child ended, so that shells and supervisors see the same status. */
export function exitLike({ code, signal }) {
  if (signal === undefined) {
    process.exitCode = code;
    return;
  }
  process.kill(process.pid, signal);
  // Still here when the signal is ignored by inheritance (nohup): report it the way a shell would.
  setTimeout(() => process.exit(128 + (constants.signals[signal] ?? 0)), 1000);
}

/**
 * A terminal sends Ctrl-C and its own closing to every process of the foreground group, the child included. Repeating
 * them would read as the second Ctrl-C that many programs take for "now, without cleaning up".
 */
function terminalTellsGroup(signal) {
  if (signal === "SIGTERM" || process.platform === "win32") return false;
  try {
    if (process.platform === "linux") {
      // Fields after the parenthesised name: state, ppid, pgrp, session, tty_nr, tpgid (see proc(5)).
      const fields = readFileSync("/proc/self/stat", "utf8")
        .replace(/^.*\) /su, "")
        .split(" ");
      return fields[4] !== "0" && fields[2] === fields[5];
    }
    const ps = spawnSync("ps", ["-o", "pgid=,tpgid=", "-p", String(process.pid)], { encoding: "utf8" });
    const [group, foreground] = ps.stdout.trim().split(/\s+/u);
    return group === foreground;
  } catch {
    return process.stdin.isTTY;
  }
}

function explainSpawnError(command, cause) {
  if (cause.code !== "ENOENT") return `cannot run ${command}: ${cause.message}.`;
  return `cannot run ${command}: there is no such program on PATH or in node_modules/.bin. Check its spelling, or install it.`;
}
