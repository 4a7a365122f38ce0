import { setTimeout as pause } from "node:timers/promises";
import { Client } from "pg";
import { seeded, type Random } from "../chaos/random.ts";
import { createRole } from "../database-roles.ts";

export const shards = 10;
export const users = Array.from({ length: 20 }, (_, i) => `user-${i}`);
export const role = "torture_user";

/** One committed row. */
export interface Change {
  readonly id: number;
  readonly table: string;
  readonly shard: number;
  readonly owner: string;
}

export const changeTables = ["torture_all", "torture_sharded", "torture_owned"] as const;
/** Whose rows are updated and deleted, too: for those who keep rows. */
export const board = "torture_board";
/** A row of it says that everything before it has arrived. */
export const markTable = "torture_mark";

const ownRows = (table: string): string => `
  ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON ${table} FOR SELECT TO ${role}
    USING (owner = current_setting('request.jwt.claims', true)::json ->> 'sub');`;

export const tortureSchema = `
  ${changeTables.map((table) => `CREATE TABLE ${table} (id bigint PRIMARY KEY, shard int, owner text, note text);`).join("\n")}
  CREATE TABLE ${board} (id int PRIMARY KEY, shard int, owner text, note text);
  CREATE TABLE ${markTable} (id int PRIMARY KEY);
  ${createRole(role, [...changeTables, board].join(", "))}
  ${ownRows("torture_owned")}
  ${ownRows(board)}
  CREATE PUBLICATION supabase_realtime FOR ALL TABLES;`;

export interface WorkloadOptions {
  readonly url: string;
  readonly rowsPerSecond: number;
  readonly seed: number;
}

/** Numbered rows from several connections at once, so that they commit in another order than they are numbered. */
export class Workload {
  readonly #options: WorkloadOptions;
  readonly #writers: readonly Writer[];
  #stop = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: WorkloadOptions) {
    this.#options = options;
    this.#writers = Array.from({ length: writerCount }, (_, writer) => new Writer(options, writer));
  }

  start(): void {
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    this.#running = Promise.all([...this.#writers.map((writer) => writer.run(signal)), this.#writeBoard(signal)]);
  }

  /** Resolves when nobody writes any more. */
  async pause(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Rows that come and go, and change their owner and shard: 20 to 30 changes a second. */
  async #writeBoard(signal: AbortSignal): Promise<void> {
    const random = seeded(this.#options.seed + 100 + Math.floor(performance.now()));
    const anyId = (): number => random.integer(1, 300);
    await whileConnected(this.#options.url, signal, async (client) => {
      const shard = random.integer(0, 3);
      const owner = users[random.integer(0, 3)];
      await client.query("BEGIN");
      for (let left = random.integer(1, 5); left > 0; left--) {
        if (random.chance(0.4))
          await client.query(
            `INSERT INTO ${board} VALUES ($1, $2, $3, 'new') ON CONFLICT (id) DO UPDATE SET shard = $2, note = 'again'`,
            [anyId(), shard, owner],
          );
        else if (random.chance(0.3)) await client.query(`DELETE FROM ${board} WHERE id = $1`, [anyId()]);
        else await client.query(`UPDATE ${board} SET shard = $2, owner = $3 WHERE id = $1`, [anyId(), shard, owner]);
      }
      await client.query(random.chance(0.1) ? "ROLLBACK" : "COMMIT");
      await pause(100);
    });
  }
}

const writerCount = 6;

/** One connection after the other; a number is used once, whether its transaction commits or not. */
class Writer {
  readonly #options: WorkloadOptions;
  readonly #writer: number;
  readonly #random: Random;
  #n = 0;
  #dueMs = 0;

  constructor(options: WorkloadOptions, writer: number) {
    this.#options = options;
    this.#writer = writer;
    this.#random = seeded(options.seed + writer);
  }

  async run(signal: AbortSignal): Promise<void> {
    this.#dueMs = performance.now();
    await whileConnected(this.#options.url, signal, (client) => this.#transact(client));
  }

  async #transact(client: Client): Promise<void> {
    const random = this.#random;
    const rows = random.chance(0.9) ? random.integer(1, 12) : random.integer(13, 20);
    const isLong = random.chance(0.03);
    await client.query("BEGIN");
    for (let left = rows; left > 0;) {
      left -= await this.#insert(client, random.integer(1, left));
      if (isLong) await pause(random.between(50, 500));
    }
    await client.query(random.chance(0.05) ? "ROLLBACK" : "COMMIT");
    // What could not be written while the server was away is made up for, a little.
    this.#dueMs = Math.max(
      this.#dueMs + (rows * 1_000 * writerCount) / this.#options.rowsPerSecond,
      performance.now() - 3_000,
    );
    await pause(Math.max(0, this.#dueMs - performance.now()));
  }

  async #insert(client: Client, rows: number): Promise<number> {
    const random = this.#random;
    const table = random.pick([
      { value: "torture_all", weight: 8 },
      { value: "torture_sharded", weight: 46 },
      { value: "torture_owned", weight: 46 },
    ] as const);
    const ids = Array.from({ length: rows }, () => ++this.#n * writerCount + this.#writer);
    const owners = ids.map(() => users[random.integer(0, users.length - 1)]);
    await client.query(
      `INSERT INTO ${table} SELECT id, id % ${shards}, owner, repeat('x', $3) FROM unnest($1::bigint[], $2::text[]) AS new (id, owner)`,
      [ids, owners, random.chance(0.01) ? 5_000 : 40],
    );
    return rows;
  }
}

/** Again and again on one connection after the other, until the signal fires. */
async function whileConnected(
  connectionString: string,
  signal: AbortSignal,
  act: (client: Client) => Promise<void>,
): Promise<void> {
  while (!signal.aborted) {
    const client = new Client({ connectionString, application_name: "torture writer" });
    client.on("error", () => undefined);
    try {
      await client.connect();
      while (!signal.aborted) await act(client);
    } catch {
      await pause(100); // the server is away: whether what was under way has committed, the tables tell in the end
    } finally {
      await client.end().catch(() => undefined);
    }
  }
}
