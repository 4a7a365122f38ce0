import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LineProcess } from "./line-process.ts";
import { onProcessEnd } from "./process-end.ts";

/** A real server run from its binary, whose process a test may stop, freeze and kill. */
export interface ServerProcess {
  readonly url: string;
  readonly port: number;
  readonly dataDir: string;
  /** Of the running process; changes with every restart. */
  readonly pid: number;
  /** What the running process wrote so far. */
  readonly lines: readonly string[];
  /** Ends it; with `keepData`, `restart()` brings it back. Stopping twice is fine. */
  stop(options?: { readonly keepData?: boolean }): Promise<void>;
  /** A crash: SIGKILL for it and all its children. Data stays; `restart()` brings it back. */
  kill9(): Promise<void>;
  /** Freezes it: connections stay open and silent. */
  pause(): void;
  resume(): void;
  /** Starts it again on the same port and data, after stopping it in good order if it still runs. */
  restart(): Promise<void>;
}

export interface ServerProcessOptions {
  readonly url: string;
  readonly port: number;
  readonly dataDir: DataDir;
  /** Starts the process and resolves when the server serves. Must leave nothing running when it rejects. */
  readonly start: () => Promise<LineProcess>;
  /** Ends in good order, so that a later start finds complete data. */
  readonly gracefulSignal: NodeJS.Signals;
  /** Ends at once, for data that will be deleted anyway. */
  readonly quickSignal: NodeJS.Signals;
}

/** Starts a server and hands out the controls of its process. */
export async function runServer(options: ServerProcessOptions): Promise<ServerProcess> {
  const { url, port, dataDir, start, gracefulSignal, quickSignal } = options;
  let running = await start();
  return {
    url,
    port,
    dataDir: dataDir.path,
    get pid() {
      return running.pid;
    },
    get lines() {
      return running.lines;
    },
    async stop({ keepData = false } = {}) {
      await running.stop(keepData ? gracefulSignal : quickSignal);
      if (!keepData) dataDir.remove();
    },
    kill9: () => running.kill9(),
    pause: () => running.pause(),
    resume: () => running.resume(),
    async restart() {
      await running.stop(gracefulSignal);
      running = await start();
    },
  };
}

export interface DataDir {
  readonly path: string;
  /** Deletes the folder if it is ours; one that the caller named is left alone. */
  remove(): void;
}

/** The folder the caller named, or a fresh one that is deleted at the latest when this process ends. */
export function dataDirectory(server: string, named: string | undefined): DataDir {
  if (named !== undefined) return { path: named, remove: () => {} };
  const path = mkdtempSync(join(tmpdir(), `walcast-${server}-`));
  chmodSync(path, 0o755);
  const remove = (): void => rmSync(path, { recursive: true, force: true });
  const forget = onProcessEnd(remove);
  return {
    path,
    remove: () => {
      forget();
      remove();
    },
  };
}
