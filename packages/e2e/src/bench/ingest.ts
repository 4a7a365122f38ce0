import { fork, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startNats, startPostgres, type ServerProcess } from "@walcast/testkit";
import { Client } from "pg";
import type { BenchOrder, BenchReport } from "./ingester-process.ts";
import { median, percentile } from "./statistics.ts";

/** How often each backlog is drained by each; the medians are printed. */
const repeats = 3;
const row = "(id, customer, total, note, at)";
const values = "i, i % 1000, (i % 9999) / 100.0, 'a note of ordinary length about order ' || i, now()";

interface Backlog {
  readonly name: string;
  readonly changes: number;
  readonly sql: string;
}

/** Writes `changes` rows in transactions of `rows` each. */
const insertBacklog = (rows: number, changes: number): Backlog => ({
  name: `insert ${rows}`,
  changes,
  sql: `DO $$ BEGIN FOR t IN 0..${changes / rows - 1} LOOP
    INSERT INTO orders ${row} SELECT ${values} FROM generate_series(t * ${rows} + 1, (t + 1) * ${rows}) AS i; COMMIT;
  END LOOP; END $$`,
});

const backlogs: readonly Backlog[] = [
  insertBacklog(1, 300_000),
  insertBacklog(10, 500_000),
  insertBacklog(1_000, 1_000_000),
  {
    name: "mixed, full old rows",
    changes: 300_000,
    sql: `DO $$ BEGIN FOR t IN 0..9999 LOOP
      INSERT INTO full_orders ${row} SELECT ${values} FROM generate_series(t * 10 + 1, (t + 1) * 10) AS i;
      UPDATE full_orders SET total = total + 1 WHERE id BETWEEN t * 10 + 1 AND (t + 1) * 10;
      DELETE FROM full_orders WHERE id BETWEEN t * 10 + 1 AND (t + 1) * 10; COMMIT;
    END LOOP; END $$`,
  },
  {
    name: "five tables in turn",
    changes: 200_000,
    sql: `DO $$ BEGIN FOR i IN 1..40000 LOOP
      ${[1, 2, 3, 4, 5].map((n) => `INSERT INTO orders_${n} ${row} SELECT ${values};`).join(" ")} COMMIT;
    END LOOP; END $$`,
  },
];

/** Drains backlogs with pg_recvlogical and with the ingester, in turn; one JSON line for each backlog and transport. */
export async function benchIngest(only: string | undefined): Promise<void> {
  const recvlogical = findRecvlogical();
  const postgres = await startPostgres({
    postgresFlags: ["-c", "fsync=on", "-c", "max_wal_size=8GB", "-c", "checkpoint_timeout=1h"],
  });
  const nats = await startNats();
  try {
    const sql = new Client({ connectionString: postgres.url });
    await sql.connect();
    await createTables(sql);
    for (const backlog of backlogs) {
      if (only !== undefined && !backlog.name.includes(only)) continue;
      for (const transport of ["unix", "tcp"] as const) {
        print(await drainBacklog({ sql, postgres, nats, recvlogical, backlog, transport }));
      }
    }
    if (only === undefined || "one transaction".includes(only)) print(await drainHuge({ sql, postgres, nats }));
    if (only === undefined || "latency".includes(only)) print(await measureLatency({ sql, postgres, nats }));
    await sql.end();
  } finally {
    await nats.stop();
    await postgres.stop();
  }
}

const print = (line: object): void => console.log(JSON.stringify(line));

async function createTables(sql: Client): Promise<void> {
  const columns = "(id bigint, customer int, total numeric(10,2), note text, at timestamptz)";
  await sql.query(`CREATE TABLE orders ${columns}; CREATE TABLE full_orders ${columns};
    ALTER TABLE full_orders REPLICA IDENTITY FULL; CREATE INDEX ON full_orders (id)`);
  for (const n of [1, 2, 3, 4, 5]) await sql.query(`CREATE TABLE orders_${n} ${columns}`);
  await sql.query("CREATE PUBLICATION bench FOR ALL TABLES");
}

interface Drain {
  readonly sql: Client;
  readonly postgres: ServerProcess;
  readonly nats: ServerProcess;
  readonly recvlogical: string;
  readonly backlog: Backlog;
  readonly transport: "unix" | "tcp";
}

async function drainBacklog(drain: Drain): Promise<object> {
  const { sql, backlog, transport } = drain;
  await sql.query("SELECT pg_create_logical_replication_slot('origin', 'pgoutput')");
  await sql.query("TRUNCATE orders, full_orders, orders_1, orders_2, orders_3, orders_4, orders_5");
  await sql.query("SET synchronous_commit = off");
  await sql.query(backlog.sql);
  await sql.query("SET synchronous_commit = on");
  const end = await currentLsn(sql);
  await sql.query("CREATE TABLE IF NOT EXISTS beyond (id int); INSERT INTO beyond VALUES (1)"); // pg_recvlogical stops at what comes after the end
  const ours: Extract<BenchReport, { tag: "drained" }>[] = [];
  const theirs: number[] = [];
  for (let i = 0; i < repeats; i++) {
    const startup = await recvlogicalMs(drain, undefined);
    theirs.push((await recvlogicalMs(drain, end)) - startup);
    ours.push(await ingesterDrain(drain));
  }
  await sql.query("SELECT pg_drop_replication_slot('origin')");
  const elapsedMs = median(ours.map((one) => one.elapsedMs));
  const { changes } = backlog;
  return {
    bench: "ingest",
    case: `${backlog.name}, ${transport}`,
    backlog: backlog.name,
    transport,
    ratio: round(median(theirs) / elapsedMs, 2),
    rows_per_s: Math.round(changes / (elapsedMs / 1000)),
    pg_recvlogical_rows_per_s: Math.round(changes / (median(theirs) / 1000)),
    cpu_us_per_row: round(median(ours.map((one) => one.cpuMicros)) / changes, 2),
    rss_mb: Math.round(Math.max(...ours.map((one) => one.rssBytes)) / 2 ** 20),
  };
}

/** One transaction of ten million rows: what memory it takes, and whether the walsender lived through it. */
async function drainHuge({ sql, postgres, nats }: Pick<Drain, "sql" | "postgres" | "nats">): Promise<object> {
  const changes = 10_000_000;
  const backlog = { name: "one transaction", changes, sql: "" };
  await sql.query("SELECT pg_create_logical_replication_slot('origin', 'pgoutput')");
  await sql.query(`INSERT INTO orders ${row} SELECT ${values} FROM generate_series(1, ${changes}) AS i`);
  const walsenders = new Set<number>();
  const look = setInterval(() => void noteWalsender(postgres, walsenders), 500);
  const { elapsedMs, cpuMicros, rssBytes } = await ingesterDrain({ sql, postgres, nats, backlog, transport: "tcp" });
  clearInterval(look);
  await sql.query("SELECT pg_drop_replication_slot('origin'); TRUNCATE orders");
  return {
    bench: "ingest",
    case: `one transaction of ${changes} rows`,
    rows_per_s: Math.round(changes / (elapsedMs / 1000)),
    cpu_us_per_row: round(cpuMicros / changes, 2),
    rss_mb: Math.round(rssBytes / 2 ** 20),
    /** More than one: it was ended, by a timeout or otherwise, and another took over. */
    walsenders: walsenders.size,
  };
}

async function noteWalsender(postgres: ServerProcess, seen: Set<number>): Promise<void> {
  const client = new Client({ connectionString: postgres.url });
  await client.connect();
  const { rows } = await client.query<{ active_pid: number }>(
    "SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'ours' AND active",
  );
  for (const { active_pid: pid } of rows) seen.add(pid);
  await client.end();
}

/** Every drain has a slot of its own that stands where the backlog begins. */
async function withSlot<T>(sql: Client, name: string, use: () => Promise<T>): Promise<T> {
  await sql.query("SELECT pg_copy_logical_replication_slot('origin', $1)", [name]);
  try {
    return await use();
  } finally {
    await sql.query(
      "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active",
      [name],
    );
    while (
      (await sql.query("SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active", [name])).rowCount !== 0
    );
    await sql.query("SELECT pg_drop_replication_slot($1)", [name]);
  }
}

/** The time of a whole pg_recvlogical run, to /dev/null; without an end one that has nothing to read. */
function recvlogicalMs({ sql, postgres, recvlogical, transport }: Drain, end: string | undefined): Promise<number> {
  return withSlot(sql, "theirs", async () => {
    const host = transport === "unix" ? join(postgres.dataDir, "cluster") : "127.0.0.1";
    const endpos = end ?? (await startLsn(sql));
    const args = [
      "-h",
      host,
      "-p",
      String(postgres.port),
      "-U",
      "postgres",
      "-d",
      "postgres",
      "--slot",
      "theirs",
      "--start",
    ];
    const options = [
      "-o",
      "proto_version=1",
      "-o",
      "publication_names=bench",
      "--endpos",
      endpos,
      "-f",
      "/dev/null",
      "-n",
    ];
    const startedAt = performance.now();
    const child = spawn(recvlogical, [...args, ...options], {
      env: { ...process.env, PGPASSWORD: "postgres" },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const [code] = (await once(child, "exit")) as [number];
    if (code !== 0) throw new Error(`pg_recvlogical ended with ${code}: ${said}`);
    return performance.now() - startedAt;
  });
}

const startLsn = async (sql: Client): Promise<string> =>
  (
    await sql.query<{ lsn: string }>(
      "SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = 'origin'",
    )
  ).rows[0]?.lsn ?? "0/0";
const currentLsn = async (sql: Client): Promise<string> =>
  (await sql.query<{ lsn: string }>("SELECT pg_current_wal_insert_lsn()::text AS lsn")).rows[0]?.lsn ?? "0/0";

let sources = 0;

function startIngester(order: BenchOrder): { next: () => Promise<BenchReport>; stop: () => Promise<void> } {
  const child = fork(fileURLToPath(new URL("ingester-process.ts", import.meta.url)), { execArgv: process.execArgv });
  const exited = once(child, "exit");
  child.send(order);
  return {
    next: async () => ((await once(child, "message")) as [BenchReport])[0],
    async stop() {
      child.disconnect();
      await exited;
    },
  };
}

/** For the unix socket the host is its folder (libpq's URI syntax, which pg understands too). */
const connectionString = (postgres: ServerProcess, transport: "unix" | "tcp"): string =>
  transport === "tcp"
    ? postgres.url
    : `postgres://postgres:postgres@/postgres?host=${encodeURIComponent(join(postgres.dataDir, "cluster"))}&port=${postgres.port}`;

function ingesterDrain({
  sql,
  postgres,
  nats,
  backlog,
  transport,
}: Omit<Drain, "recvlogical">): Promise<Extract<BenchReport, { tag: "drained" }>> {
  return withSlot(sql, "ours", async () => {
    const ingester = startIngester({
      database: { connectionString: connectionString(postgres, transport) },
      natsUrl: nats.url,
      slot: "ours",
      source: `bench${++sources}`,
      changes: backlog.changes,
    });
    const report = await ingester.next();
    await ingester.stop();
    if (report.tag !== "drained") throw new Error(`unexpected report ${report.tag}`);
    return report;
  });
}

/** From sending one INSERT to the log's acknowledgement of its batch, on an idle system. */
async function measureLatency({ sql, postgres, nats }: Pick<Drain, "sql" | "postgres" | "nats">): Promise<object> {
  await sql.query("SELECT pg_create_logical_replication_slot('origin', 'pgoutput')");
  const samples = await withSlot(sql, "ours", async () => {
    const ingester = startIngester({
      database: { connectionString: postgres.url },
      natsUrl: nats.url,
      slot: "ours",
      source: `bench${++sources}`,
      changes: 0,
    });
    const insert = async (i: number): Promise<number> => {
      const reported = ingester.next();
      const sentAt = process.hrtime.bigint();
      await sql.query(`INSERT INTO orders ${row} SELECT ${values} FROM (SELECT ${i} AS i) AS one`);
      const report = await reported;
      if (report.tag !== "acknowledged") throw new Error(`unexpected report ${report.tag}`);
      return Number(BigInt(report.atNs) - sentAt) / 1e6;
    };
    const times: number[] = [];
    for (let i = 0; i < 600; i++) {
      const ms = await insert(i);
      if (i >= 100) times.push(ms); // the first ones warm up
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await ingester.stop();
    return times;
  });
  await sql.query("SELECT pg_drop_replication_slot('origin')");
  return {
    bench: "ingest",
    case: "latency of one row, idle",
    p50_ms: round(percentile(samples, 0.5), 2),
    p99_ms: round(percentile(samples, 0.99), 2),
  };
}

const round = (value: number, digits: number): number => Number(value.toFixed(digits));

/** The newest one that Debian's packages brought, or the one on PATH. */
function findRecvlogical(): string {
  const root = "/usr/lib/postgresql";
  const versions = existsSync(root) ? readdirSync(root).toSorted((a, b) => Number(b) - Number(a)) : [];
  const found = versions
    .map((version) => join(root, version, "bin", "pg_recvlogical"))
    .find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new Error("pg_recvlogical is missing: run `sudo apt-get install postgresql-client`");
}
