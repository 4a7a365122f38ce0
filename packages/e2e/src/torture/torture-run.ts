import { waitUntil } from "@walcast/testkit";
import type { Client } from "pg";
import type { ChaosService } from "../chaos/chaos-service.ts";
import { faults as systemFaults, gatewayFaults } from "../chaos/faults.ts";
import { connectReader } from "../chaos/log-audit.ts";
import { seeded } from "../chaos/random.ts";
import { ClientFleet } from "./client-fleet.ts";
import { wants, type ClientSpec } from "./client-kind.ts";
import { changeKinds, mayRepeat, rowKinds } from "./client-kinds.ts";
import { CommittedOrder } from "./committed-order.ts";
import { cutClients, FaultSchedule, keepAway, type TortureFault } from "./fault-schedule.ts";
import { compareRecord, type ClientRecord } from "./record.ts";
import { startTortureSystem, tokenOf, type TortureSystem } from "./torture-system.ts";
import { board, markTable, role, shards, users, Workload, type Change } from "./workload.ts";

export interface TortureOptions {
  readonly seconds: number;
  readonly seed: number;
  /** `gaps`: clients are away for longer than the log reaches back. */
  readonly variant: "everything" | "gaps";
}

/** What a run found, printed as one line of JSON. */
export type TortureReport = Readonly<Record<string, unknown>> & {
  readonly rows: number;
  readonly gaps_told: number;
  readonly problems: readonly string[];
};

const clients = 200;
const clientProcesses = 2;
/** How long everybody may take to have everything once nothing is broken any more. */
const catchUpLimitMs = 90_000;
/** So often it is quiet, for those who keep rows to be compared with the table. */
const roundMs = 60_000;

interface Variant {
  readonly rowsPerSecond: number;
  readonly faults: readonly TortureFault[];
  readonly env: Readonly<Record<string, string>>;
  readonly rowClients: number;
}

const variants: Readonly<Record<TortureOptions["variant"], Variant>> = {
  everything: {
    rowsPerSecond: 520,
    faults: [...systemFaults, ...gatewayFaults, cutClients, keepAway(500, 15_000)],
    env: {},
    rowClients: 12,
  },
  gaps: {
    rowsPerSecond: 300,
    // None that keeps the reader of the committed order from the log for longer than it reaches back.
    faults: [
      ...gatewayFaults.filter(({ kind }) => kind === "kill gateway"),
      ...systemFaults.filter(({ kind }) => kind === "kill leader"),
      cutClients,
      { ...keepAway(15_000, 25_000), weight: 20 },
    ],
    env: { LOG_RETENTION_BYTES: String(2 ** 20), RESUME_MEMORY_BYTES: String(2 ** 20) },
    rowClients: 0,
  },
};

export async function runTorture(options: TortureOptions): Promise<TortureReport> {
  const system = await startTortureSystem(variants[options.variant].env);
  try {
    return await new Torture(options, system).run();
  } finally {
    await system.stop();
  }
}

class Torture {
  readonly #options: TortureOptions;
  readonly #system: TortureSystem;
  readonly #order = new CommittedOrder();
  readonly #problems: string[] = [];
  readonly #timeline: string[] = [];
  readonly #catchUpsMs: number[] = [];
  readonly #startMs = performance.now();
  #mark = 0;
  #rowsCompared = 0;

  constructor(options: TortureOptions, system: TortureSystem) {
    this.#options = options;
    this.#system = system;
  }

  get #variant(): Variant {
    return variants[this.#options.variant];
  }

  async run(): Promise<TortureReport> {
    const { chaos } = this.#system;
    const { seed, seconds, variant } = this.#options;
    const specs = await this.#specs();
    const log = await connectReader(chaos.natsUrl, chaos.source);
    const endOfReading = new AbortController();
    const reading = this.#order.run(log, endOfReading.signal);
    await this.#reach(0); // the log has a first position
    const fleet = await ClientFleet.start(specs, clientProcesses);
    try {
      await this.#untilNone(fleet, fleet.notReady, "to be subscribed");
      const workload = new Workload({ url: chaos.postgres.url, rowsPerSecond: this.#variant.rowsPerSecond, seed });
      const schedule = new FaultSchedule({
        system: this.#system,
        random: seeded(seed),
        faults: this.#variant.faults,
        note: (what) => this.#note(what),
        problem: (what) => this.#problem(what),
      });
      let writtenMs = 0;
      const endMs = performance.now() + seconds * 1_000;
      for (let leftMs = seconds * 1_000; leftMs > 0; leftMs = endMs - performance.now()) {
        await fleet.rest();
        workload.start();
        const beginMs = performance.now();
        await schedule.run(Math.min(leftMs, roundMs));
        await workload.pause();
        writtenMs += performance.now() - beginMs;
        await this.#quiet(fleet, specs);
      }
      const records = await fleet.records();
      endOfReading.abort();
      await reading;
      this.#problems.push(
        ...this.#order.complaints,
        ...(await chaos.withSql((client) => this.#order.compareWithTables(client))),
      );
      return {
        variant,
        seed,
        seconds,
        ...this.#compare(specs, records),
        rows: this.#order.changes.length,
        rows_per_second: Math.round((this.#order.changes.length * 1_000) / writtenMs),
        faults: Object.fromEntries([...schedule.counts].toSorted(([a], [b]) => (a < b ? -1 : 1))),
        catch_up_ms: this.#catchUpsMs,
        live_rows_compared: this.#rowsCompared,
        problems: this.#problems.slice(0, 50),
        ...(this.#problems.length > 0
          ? { timeline: this.#timeline, warnings: this.#system.gateways.map(warningsOf) }
          : {}),
      };
    } finally {
      fleet.stop();
      endOfReading.abort();
      await log.close();
    }
  }

  #note(what: string): void {
    const seconds = ((performance.now() - this.#startMs) / 1_000).toFixed(1);
    this.#timeline.push(`${seconds} ${new Date().toISOString()} ${what}`);
  }

  #problem(what: string): void {
    this.#note(what);
    this.#problems.push(what);
  }

  /** A quarter wants everything, the others a shard or what is a user's own; every kind has some of each. */
  async #specs(): Promise<ClientSpec[]> {
    const kinds = Object.keys(changeKinds);
    const tokens = new Map(await Promise.all(users.map(async (user) => [user, await tokenOf(user)] as const)));
    const portOf = (number: number): number => this.#system.balancers[number % 3 === 0 ? 1 : 0]?.port ?? 0;
    const spec = (number: number, kind: string, wanted: Pick<ClientSpec, "table" | "filter">): ClientSpec => {
      const user = users[Math.floor(number / kinds.length) % users.length] ?? "";
      return { number, kind, port: portOf(number), user, token: tokens.get(user) ?? "", ...wanted };
    };
    const ofChanges = Array.from({ length: clients }, (_, number) => {
      const turn = Math.floor(number / kinds.length);
      const interest = turn % 8;
      const kind = kinds[number % kinds.length] ?? "";
      if (interest < 2) return spec(number, kind, { table: "torture_all", filter: undefined });
      if (interest < 5) return spec(number, kind, { table: "torture_sharded", filter: `shard=eq.${turn % shards}` });
      return spec(number, kind, { table: "torture_owned", filter: undefined });
    });
    const keepers = Object.keys(rowKinds);
    const ofRows = Array.from({ length: this.#variant.rowClients }, (_, i) => {
      const filter = i % 4 < 2 ? undefined : `shard=eq.${i % 3}`;
      const kind = keepers[i % keepers.length] ?? "";
      const user = users[Math.floor(i / 2) % 4] ?? "";
      return { ...spec(clients + i, kind, { table: board, filter }), user, token: tokens.get(user) ?? "" };
    });
    return [...ofChanges, ...ofRows];
  }

  /** Everything that was written before has come to the log's end. */
  async #reach(mark: number): Promise<void> {
    const { chaos } = this.#system;
    await chaos.withSql((client) => client.query(`INSERT INTO ${markTable} VALUES ($1)`, [mark]));
    await waitUntil(() => this.#order.mark >= mark, { what: "the log to catch up", timeoutMs: catchUpLimitMs });
  }

  async #untilNone(fleet: ClientFleet, which: () => Promise<readonly number[]>, what: string): Promise<void> {
    let left: readonly number[] = [];
    await waitUntil(async () => (left = await which()).length === 0, {
      what,
      timeoutMs: catchUpLimitMs,
      intervalMs: 200,
    }).catch(async (cause: unknown) => {
      const states = await fleet.states(left);
      throw new Error(`${left.length} clients waited in vain ${what}: ${left.join(", ")}; ${states.join("; ")}`, {
        cause,
      });
    });
  }

  /** Nothing is written and nothing broken: everybody comes to have everything, and rows are what a SELECT says. */
  async #quiet(fleet: ClientFleet, specs: readonly ClientSpec[]): Promise<void> {
    const beginMs = performance.now();
    this.#note("quiet");
    try {
      await this.#writeEnds();
      await this.#reach(++this.#mark);
      const wanted = specs.map((spec) => {
        const committed = this.#committedFor(spec);
        const isCounted = this.#options.variant === "everything";
        return { number: spec.number, last: committed.at(-1), rows: isCounted ? committed.length : undefined };
      });
      await this.#untilNone(fleet, () => fleet.lagging(wanted), "to have everything");
    } catch (error) {
      this.#problem(String(error));
      for (const gateway of this.#system.gateways) this.#problem(`${gateway.name}: ${await healthOf(gateway)}`);
    }
    this.#catchUpsMs.push(Math.round(performance.now() - beginMs));
    await this.#compareRows(fleet, specs);
    this.#note("everybody has everything");
  }

  /** A last row for everybody, so that who waits for rows that are gone for good can be told from who has come to the end. */
  async #writeEnds(): Promise<void> {
    await this.#system.chaos.withSql(async (client) => {
      // Beyond all numbers of the writers, and below 2^53.
      const first = 1e12 + this.#mark * 1_000;
      await client.query("INSERT INTO torture_all VALUES ($1, 0, $2, 'end')", [first, users[0]]);
      await client.query(
        "INSERT INTO torture_sharded SELECT $1::bigint + i, i, $2, 'end' FROM generate_series(0, $3 - 1) AS i",
        [first + 100, users[0], shards],
      );
      await client.query(
        "INSERT INTO torture_owned SELECT $1::bigint + i, 0, owner, 'end' FROM unnest($2::text[]) WITH ORDINALITY AS u (owner, i)",
        [first + 200, users],
      );
    });
  }

  #committedFor(spec: ClientSpec): number[] {
    return this.#order.changes.filter((change: Change) => wants(spec, change)).map(({ id }) => id);
  }

  async #compareRows(fleet: ClientFleet, specs: readonly ClientSpec[]): Promise<void> {
    const keepers = specs.filter(({ table }) => table === board);
    if (keepers.length === 0) return;
    const truth = new Map<number, string>();
    await this.#system.chaos.withSql(async (client) => {
      for (const spec of keepers) truth.set(spec.number, shown(await selectAs(client, spec)));
    });
    let kept: Awaited<ReturnType<ClientFleet["rows"]>> = [];
    const differing = async (): Promise<readonly number[]> => {
      kept = await fleet.rows();
      return kept.filter(({ number, rows }) => shown(rows) !== truth.get(number)).map(({ number }) => number);
    };
    await this.#untilNone(fleet, differing, "to keep the rows that a SELECT finds").catch((error: unknown) => {
      const wrong = kept.find(({ number, rows }) => shown(rows) !== truth.get(number));
      this.#problem(`${String(error)}; ${JSON.stringify(wrong)}, a SELECT says ${truth.get(wrong?.number ?? 0)}`);
    });
    this.#rowsCompared += kept.reduce((sum, { rows }) => sum + rows.length, 0);
  }

  #compare(specs: readonly ClientSpec[], records: ReadonlyMap<number, ClientRecord>): CompareReport {
    const sums = { deliveries: 0, repeats: 0, lost: 0, lost_and_told: 0, idle_gaps: 0, gaps_told: 0 };
    const silence: Record<string, number> = {};
    const complaints: Record<string, number> = {};
    for (const spec of specs) {
      const record = records.get(spec.number);
      if (record === undefined) {
        this.#problems.push(`client ${spec.number} has no record`);
        continue;
      }
      const who = `client ${spec.number} (${spec.kind}, ${spec.table} ${spec.filter ?? ""} ${spec.user})`;
      for (const [kind, times] of Object.entries(record.complaints)) complaints[kind] = (complaints[kind] ?? 0) + times;
      if (spec.table === board) continue;
      const verdict = compareRecord(record.items, this.#committedFor(spec));
      const repeats = record.deliveries - record.items.filter((id) => id > 0).length;
      sums.deliveries += record.deliveries;
      sums.repeats += repeats;
      sums.lost += verdict.lost;
      sums.lost_and_told += verdict.told;
      sums.idle_gaps += verdict.idleGaps;
      sums.gaps_told += record.gaps.length;
      silence[spec.kind] = Math.max(silence[spec.kind] ?? 0, record.longestSilenceMs);
      this.#problems.push(...verdict.examples.map((example) => `${who}: ${example}`));
      if (repeats > 0 && !mayRepeat(spec.kind)) this.#problems.push(`${who}: ${repeats} rows came twice`);
      if (this.#options.variant === "everything")
        this.#problems.push(...record.gaps.map((message) => `${who} was told: ${message}`));
    }
    return { ...sums, longest_silence_ms: silence, complaints };
  }
}

const healthOf = async ({ port }: ChaosService): Promise<string> => {
  const ask = async (path: string): Promise<string> =>
    await (await fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(5_000) })).text();
  const metrics = (await ask("/metrics"))
    .split("\n")
    .filter((line) => /changes_total|resumes|guarded|position/u.test(line));
  return [await ask("/healthz"), ...metrics.filter((line) => !line.startsWith("#"))].join(" ");
};

/** The newest of what it complained about. */
const warningsOf = ({ lines }: ChaosService): readonly string[] =>
  lines.filter((line) => !line.startsWith("Warning: uWS")).slice(-60);

interface CompareReport {
  readonly gaps_told: number;
  readonly [fact: string]: unknown;
}

/** What PostgreSQL itself shows this user. */
async function selectAs(client: Client, { user, table, filter }: ClientSpec): Promise<object[]> {
  const shard = filter?.split(".").at(-1);
  await client.query(`BEGIN; SET LOCAL ROLE ${role}`);
  await client.query("SELECT set_config('request.jwt.claims', $1, true)", [JSON.stringify({ role, sub: user })]);
  const { rows } = await client.query<object>(`SELECT * FROM ${table} WHERE $1::int IS NULL OR shard = $1`, [
    shard ?? null,
  ]);
  await client.query("COMMIT");
  return rows;
}

const shown = (rows: readonly object[]): string =>
  JSON.stringify(
    rows
      .map((row) => Object.entries(row).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      .map((row) => JSON.stringify(row))
      .toSorted(),
  );
