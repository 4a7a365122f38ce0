import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { ProcessFailedError, WaitTimeoutError } from "./errors.ts";
import { onProcessEnd } from "./process-end.ts";
import { isRunning, killTree, processTree, signalAll } from "./process-tree.ts";
import { waitUntil } from "./wait-until.ts";

const STOP_TIMEOUT_MS = 10_000;
const LINES_IN_ERRORS = 30;

export interface ProcessExit {
  readonly code: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
}

export interface LineProcessOptions {
  /** How errors call it. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly uid?: number;
  readonly gid?: number;
}

export interface WaitForLineOptions {
  readonly timeoutMs?: number;
  /** Skip this many lines, counted from the process's first one: pass an earlier `lines.length` to see only news. */
  readonly from?: number;
}

/**
 * A child process whose output is kept line by line, and which never outlives this process.
 *
 *     running ─SIGSTOP─► paused ─SIGCONT─► running ─stop / kill9 / own end─► exited
 */
export class LineProcess {
  readonly name: string;
  /** Resolves when the process has ended and its output is read. Never rejects. */
  readonly exit: Promise<ProcessExit>;
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #waiters = new Set<() => void>();
  #exited: ProcessExit | undefined;
  #spawnError: Error | undefined;

  constructor(options: LineProcessOptions) {
    this.name = options.name;
    const [command, ...args] = [...dieWithParent(), options.command, ...options.args];
    this.#child = spawn(command ?? options.command, args, {
      env: options.env,
      stdio: ["ignore", "pipe", "pipe"],
      ...(options.cwd !== undefined && { cwd: options.cwd }),
      ...(options.uid !== undefined && { uid: options.uid }),
      ...(options.gid !== undefined && { gid: options.gid }),
    });
    if (this.#child.stdout !== null) this.#readLines(this.#child.stdout);
    if (this.#child.stderr !== null) this.#readLines(this.#child.stderr);
    const forget = onProcessEnd(() => {
      if (this.#child.pid !== undefined) killTree(this.#child.pid);
    });
    this.exit = new Promise((resolve) => {
      const finish = (exit: ProcessExit): void => {
        forget();
        this.#exited = exit;
        resolve(exit);
        this.#wake();
      };
      this.#child.on("error", (error) => {
        this.#spawnError = error;
        if (this.#child.pid === undefined) finish({ code: undefined, signal: undefined });
      });
      this.#child.on("close", (code, signal) => finish({ code: code ?? undefined, signal: signal ?? undefined }));
    });
  }

  /** Everything written to stdout and stderr so far, in order of arrival. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw this.failure("was never started");
    return this.#child.pid;
  }

  get isRunning(): boolean {
    return this.#exited === undefined;
  }

  /** Resolves with the first line that matches, also one already written; rejects when the process ends before. */
  waitForLine(pattern: RegExp | string, { timeoutMs = 15_000, from = 0 }: WaitForLineOptions = {}): Promise<string> {
    const matches = (line: string): boolean =>
      typeof pattern === "string" ? line.includes(pattern) : pattern.test(line);
    return new Promise((resolve, reject) => {
      let next = from;
      const settle = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(check);
      };
      const check = (): void => {
        for (; next < this.#lines.length; next += 1) {
          const line = this.#lines[next];
          if (line === undefined || !matches(line)) continue;
          settle();
          resolve(line);
          return;
        }
        if (this.#exited === undefined) return;
        settle();
        reject(this.failure(`ended before it wrote ${String(pattern)}`));
      };
      const timer = setTimeout(() => {
        settle();
        reject(new WaitTimeoutError(this.#describe(`wrote no ${String(pattern)} in ${timeoutMs} ms`)));
      }, timeoutMs);
      this.#waiters.add(check);
      check();
    });
  }

  /** Asks it to end and resolves when it has; after ten seconds it is killed, which is an error. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<ProcessExit> {
    if (this.#exited !== undefined) return this.#exited;
    this.#child.kill(signal);
    this.resume();
    const ended = await Promise.race([this.exit, expire(STOP_TIMEOUT_MS)]);
    if (ended !== undefined) return ended;
    await this.kill9();
    throw this.failure(`did not end within ${STOP_TIMEOUT_MS} ms of ${signal} and was killed`);
  }

  /** SIGKILL for it and its descendants; resolves when all are gone. */
  async kill9(): Promise<void> {
    if (this.#exited !== undefined) return;
    const tree = killTree(this.pid);
    await this.exit;
    await waitUntil(() => !tree.some(isRunning), { what: `the processes of ${this.name} to be gone` });
  }

  /** SIGSTOP for it and its descendants: alive, connected, silent. */
  pause(): void {
    signalAll([this.pid], "SIGSTOP");
    signalAll(processTree(this.pid), "SIGSTOP");
  }

  /** Ends a pause. */
  resume(): void {
    if (this.#exited === undefined) signalAll([...processTree(this.pid)].toReversed(), "SIGCONT");
  }

  /** An error that says what happened and shows the last lines of output. */
  failure(what: string): ProcessFailedError {
    return new ProcessFailedError(this.#describe(what), { cause: this.#spawnError });
  }

  #describe(what: string): string {
    const exit = this.#exited;
    const state =
      exit === undefined ? "still running" : `exit code ${exit.code ?? "none"}, signal ${exit.signal ?? "none"}`;
    const cause = this.#spawnError === undefined ? "" : `; ${this.#spawnError.message}`;
    const tail = this.#lines.slice(-LINES_IN_ERRORS).join("\n");
    return `${this.name} ${what} (${state}${cause}). Last output:\n${tail === "" ? "(none)" : tail}`;
  }

  #readLines(stream: Readable): void {
    createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY }).on("line", (line) => {
      this.#lines.push(line);
      this.#wake();
    });
  }

  #wake(): void {
    for (const check of this.#waiters) check();
  }
}

/** The kernel ends the child when this process is SIGKILLed and can do nothing itself. Linux only; elsewhere it is left. */
function dieWithParent(): readonly string[] {
  const setpriv = "/usr/bin/setpriv";
  return process.platform === "linux" && existsSync(setpriv) ? [setpriv, "--pdeathsig", "KILL", "--"] : [];
}

function expire(ms: number): Promise<undefined> {
  return new Promise((resolve) => {
    setTimeout(() => resolve(undefined), ms).unref();
  });
}
