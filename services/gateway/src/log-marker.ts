import { explainReading } from "@walcast/snapshot";
import type { QuestionPool } from "@walcast/row-security";

/**
 * Writes something into the WAL that the log will show, so that the log is known to have come as far, also on a database in
 * which nothing else happens. Flushed, and with it all before it; no standby is waited for.
 */
const statement = `
  BEGIN READ WRITE; SET LOCAL synchronous_commit = local;
  SELECT pg_logical_emit_message(true, 'walcast:snapshot', ''); COMMIT`;

/** One mark serves all who asked before it was begun. */
export class LogMarker {
  readonly #pool: QuestionPool;
  #running: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(pool: QuestionPool) {
    this.#pool = pool;
  }

  /** Resolves when a mark is in the WAL that was begun after this call. Rejects as `explainReading` says. */
  async mark(): Promise<void> {
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      const marked = this.#write();
      this.#running = marked.catch(() => undefined);
      return marked;
    });
    await this.#next;
  }

  async #write(): Promise<void> {
    const write: Parameters<QuestionPool["ask"]>[1] = async (client) => {
      try {
        await client.query(statement);
      } catch (error) {
        await client.query("ROLLBACK").catch(() => undefined);
        throw explainReading(error);
      }
    };
    // Never refused for those who wait: what they were sent would be for nothing, and they would wait once more.
    await this.#pool.ask("mark", write, { queueLimit: Number.POSITIVE_INFINITY });
  }
}
