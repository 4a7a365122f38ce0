import type { Lsn } from "@walcast/model";
import type { Reach } from "./reach.ts";

export interface ReadinessOptions {
  /** Writes something into the WAL where a publication carries the database's broadcasts, and says where. */
  readonly probe: () => Promise<Lsn | undefined>;
  readonly reach: Reach;
  readonly pollMs?: number;
  readonly timeoutMs?: number;
}

interface Watcher {
  readonly ready: () => void;
  /** It has taken too long. */
  readonly late: () => void;
}

/**
 * Whether broadcasts from the database reach this gateway: what was written just now has come by the way that they take, and
 * the publication has their table (protocol.md 5.4). Asked for all who wait at once, and not at all while nobody does.
 */
export class Readiness {
  readonly #options: ReadinessOptions;
  readonly #watchers = new Map<Watcher, NodeJS.Timeout>();
  #polling: NodeJS.Timeout | undefined;
  /** For what was written; the first that comes will do, however far behind the log is read. */
  #waits: (() => void)[] = [];

  constructor(options: ReadinessOptions) {
    this.#options = options;
  }

  /** Calls one of the two, once. The returned function calls it off. */
  watch(watcher: Watcher): () => void {
    const { timeoutMs = 60_000, pollMs = 500 } = this.#options;
    const timer = setTimeout(() => {
      this.#forget(watcher);
      watcher.late();
    }, timeoutMs);
    this.#watchers.set(watcher, timer.unref());
    if (this.#polling === undefined) {
      this.#polling = setInterval(() => void this.#ask(), pollMs).unref();
      void this.#ask();
    }
    return () => this.#forget(watcher);
  }

  async #ask(): Promise<void> {
    // A database that is away is asked again; those who wait are told in time.
    const lsn = await this.#options.probe().catch(() => undefined);
    if (lsn === undefined || this.#watchers.size === 0) return;
    const stopWaiting = this.#options.reach.wait(lsn, () => {
      const watchers = [...this.#watchers.keys()];
      for (const watcher of watchers) this.#forget(watcher);
      for (const watcher of watchers) watcher.ready();
    });
    if (this.#watchers.size > 0) this.#waits.push(stopWaiting);
  }

  #forget(watcher: Watcher): void {
    clearTimeout(this.#watchers.get(watcher));
    this.#watchers.delete(watcher);
    if (this.#watchers.size > 0) return;
    clearInterval(this.#polling);
    this.#polling = undefined;
    for (const stopWaiting of this.#waits.splice(0)) stopWaiting();
  }
}
