import { setTimeout as pause } from "node:timers/promises";
import { Client } from "pg";
import type { CommittedRow } from "./ledger.ts";
import { seeded, type Random } from "./random.ts";

const tables = ["chaos_a", "chaos_b", "chaos_c"] as const;
export const tombstones = "chaos_tombstones";
/** The row whose arrival says that everything before it has arrived. */
export const endMark = "chaos_end";

export const workloadSchema = `
  ${tables.map((table) => `CREATE TABLE ${table} (writer int, n int, version int DEFAULT 0, filler text, PRIMARY KEY (writer, n));`).join("\n")}
  CREATE TABLE ${tombstones} (of_table text, writer int, n int, version int);
  CREATE TABLE ${endMark} (id int PRIMARY KEY);
  CREATE PUBLICATION supabase_realtime FOR ALL TABLES;`;

export interface WorkloadOptions {
  readonly url: string;
  readonly writers: number;
  readonly rowsPerSecond: number;
  readonly seed: number;
  readonly signal: AbortSignal;
}

export interface WorkloadCounts {
  transactions: number;
  rolledBack: number;
  /** Transactions whose connection broke: the tables tell what became of them. */
  inDoubt: number;
}

/** Writes from several connections at once until the signal fires. */
export async function runWorkload(options: WorkloadOptions): Promise<WorkloadCounts> {
  const counts: WorkloadCounts = { transactions: 0, rolledBack: 0, inDoubt: 0 };
  await Promise.all(Array.from({ length: options.writers }, (_, i) => new Writer(options, i + 1, counts).run()));
  return counts;
}

/** One connection after the other, numbering its rows; a number is used once, whether its transaction commits or not. */
class Writer {
  readonly #options: WorkloadOptions;
  readonly #writer: number;
  readonly #counts: WorkloadCounts;
  readonly #random: Random;
  /** Rows that may exist, for updates and deletes. */
  readonly #rows: { readonly table: string; readonly n: number }[] = [];
  #n = 0;

  constructor(options: WorkloadOptions, writer: number, counts: WorkloadCounts) {
    this.#options = options;
    this.#writer = writer;
    this.#counts = counts;
    this.#random = seeded(options.seed + writer);
  }

  async run(): Promise<void> {
    const { signal, url } = this.#options;
    while (!signal.aborted) {
      const client = new Client({ connectionString: url });
      client.on("error", () => undefined);
      try {
        await client.connect();
        while (!signal.aborted) await this.#transact(client);
      } catch {
        await pause(100); // the server is away
      } finally {
        await client.end().catch(() => undefined);
      }
    }
  }

  async #transact(client: Client): Promise<void> {
    const random = this.#random;
    const { rowsPerSecond, writers } = this.#options;
    const startMs = performance.now();
    const changes = random.chance(0.8) ? random.integer(1, 8) : random.integer(9, 50);
    const commits = !random.chance(0.1);
    try {
      await client.query("BEGIN");
      for (let left = changes; left > 0;) left -= await this.#change(client, left);
      this.#counts.transactions++;
      await client.query(commits ? "COMMIT" : "ROLLBACK");
      if (!commits) this.#counts.rolledBack++;
    } catch (error) {
      this.#counts.inDoubt++;
      throw error;
    }
    const dueMs = startMs + (changes * 1000 * writers) / rowsPerSecond;
    await pause(Math.max(0, dueMs - performance.now()));
  }

  /** One statement; returns how many changes it makes. */
  async #change(client: Client, limit: number): Promise<number> {
    const random = this.#random;
    const row = this.#rows[random.integer(0, this.#rows.length * 6)];
    if (row === undefined) return await this.#insert(client, random.integer(1, Math.min(limit, 10)));
    const key = [this.#writer, row.n];
    if (random.chance(0.7)) {
      await client.query(`UPDATE ${row.table} SET version = version + 1 WHERE writer = $1 AND n = $2`, key);
    } else {
      await client.query(
        `WITH gone AS (DELETE FROM ${row.table} WHERE writer = $1 AND n = $2 RETURNING writer, n, version)
         INSERT INTO ${tombstones} SELECT '${row.table}', writer, n, version FROM gone`,
        key,
      );
    }
    return 1;
  }

  async #insert(client: Client, rows: number): Promise<number> {
    const table = tables[this.#random.integer(0, tables.length - 1)] ?? tables[0];
    const first = this.#n + 1;
    this.#n += rows;
    // A few rows are long, so that batches end in the middle of transactions.
    const filler = this.#random.chance(0.02) ? 20_000 : 40;
    await client.query(
      `INSERT INTO ${table} (writer, n, filler) SELECT $1, n, repeat('x', $4) FROM generate_series($2::int, $3::int) AS n`,
      [this.#writer, first, this.#n, filler],
    );
    this.#rows.push({ table, n: first });
    if (this.#rows.length > 200) this.#rows.splice(this.#random.integer(0, 199), 1);
    return rows;
  }
}

/** What was committed after all. */
export async function readTables(client: Client): Promise<CommittedRow[]> {
  const live = tables.map((table) => `SELECT '${table}' AS table, writer, n, version, false AS deleted FROM ${table}`);
  const { rows } = await client.query<Omit<CommittedRow, "isDeleted"> & { readonly deleted: boolean }>(
    `${live.join(" UNION ALL ")} UNION ALL SELECT of_table, writer, n, version, true FROM ${tombstones}`,
  );
  return rows.map(({ deleted, ...row }) => ({ ...row, isDeleted: deleted }));
}
