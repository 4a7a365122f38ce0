import { sleep } from "@walcast/lifecycle";
import { comparePositions, isVisibleIn, zeroLsn, type Position } from "@walcast/model";
import { DatabaseUnavailableError } from "@walcast/postgres";
import type { TypeInfo } from "@walcast/pgoutput";
import type { Principal, QuestionPool } from "@walcast/row-security";
import { SnapshotInterruptedError, SnapshotReading, SnapshotRefusedError, type TableRequest } from "@walcast/snapshot";
import { LogMarker } from "./log-marker.ts";
import type { Resumer } from "./resumer.ts";
import type { GatewayMetrics } from "./metrics.ts";
import { startOf, SuspectWatch, type SnapshotStart } from "./snapshot-start.ts";

export interface SnapshotsOptions {
  /** Connections of its own: a long snapshot must not keep anybody from asking for rights. */
  readonly pool: QuestionPool;
  readonly resumer: Pick<Resumer, "recent" | "passed">;
  readonly publications: readonly string[];
  readonly maxRows: number;
  readonly timeoutMs: number;
  readonly metrics: Pick<GatewayMetrics, "snapshots" | "snapshotRows">;
}

/** Some rows of one of the tables. */
export interface SnapshotPage {
  /** Place of the table among those that were asked for. */
  readonly table: number;
  readonly rows: readonly Buffer[];
  /** After which the changes follow that are not in these rows. */
  readonly position: Position;
  /** The table has no more. */
  readonly isLast: boolean;
}

export interface SnapshotRequest {
  readonly tables: readonly TableRequest[];
  readonly principal: Principal | undefined;
  readonly pageRows: number;
  readonly signal: AbortSignal;
  /** Resolves when there is room for another page; rejects with the signal's reason, for nobody waits for ever. */
  readonly send: (page: SnapshotPage, signal: AbortSignal) => Promise<void>;
}

/** How changes go on after the rows of a snapshot. */
export interface AfterSnapshot {
  /** Behind this place. */
  readonly after: Position;
  /** Changes of such a transaction are in the rows already. */
  readonly omits: (xid: number) => boolean;
}

/**
 * A commit that nobody sees for so long, although it is in the WAL, was made by a process that stands still; where standbys
 * are waited for, by one that waits for a standby that is lost.
 */
const patienceMs = { alone: 1_000, withStandbys: 60_000 };
/** Between two looks at transactions that may be in the log before memory begins. */
const againMs = 50;
const horizonsLimit = 1_000;

/** Reads the rows there are, and says which changes are not in them. */
export class Snapshots {
  readonly #options: SnapshotsOptions;
  readonly #marker: LogMarker;
  readonly #types = new Map<number, TypeInfo>();
  /** Numbers of transactions that were not given out yet when the log stood there. */
  #horizons: { readonly at: Position; readonly nextXid: number }[] = [];

  constructor(options: SnapshotsOptions) {
    this.#options = options;
    this.#marker = new LogMarker(options.pool);
  }

  get maxRows(): number {
    return this.#options.maxRows;
  }

  /**
   * Resolves when all rows have been sent and the log has come far enough to go on. Throws SnapshotRefusedError,
   * SnapshotInterruptedError, what QuestionPool throws, and the signal's reason.
   */
  async take(request: SnapshotRequest): Promise<AfterSnapshot> {
    const { snapshots } = this.#options.metrics;
    try {
      const after = await this.#take(request);
      snapshots.inc({ outcome: "sent" });
      return after;
    } catch (error) {
      const isRefused = error instanceof SnapshotRefusedError;
      snapshots.inc({ outcome: request.signal.aborted ? "abandoned" : isRefused ? "refused" : "interrupted" });
      throw error;
    }
  }

  async #take(request: SnapshotRequest): Promise<AfterSnapshot> {
    const watches = {
      alone: new SuspectWatch(patienceMs.alone),
      withStandbys: new SuspectWatch(patienceMs.withStandbys),
    };
    const share = String(request.tables[0]?.oid);
    await this.#anyPlace(request.signal);
    for (;;) {
      const { pool } = this.#options;
      const use = (client: Parameters<Parameters<QuestionPool["ask"]>[1]>[0]) => this.#read(client, request, watches);
      const taken = await pool.ask(share, use, { signal: request.signal });
      if (taken !== undefined) return await this.#catchUp(taken, request.signal);
      await sleep(againMs, request.signal);
      request.signal.throwIfAborted();
    }
  }

  /** A log that has never held anything, or lost what it held, has no place to go on from. */
  async #anyPlace(signal: AbortSignal): Promise<void> {
    const { resumer } = this.#options;
    if (resumer.recent.end !== undefined) return;
    await this.#marker.mark();
    await resumer.passed(zeroLsn, signal);
    signal.throwIfAborted();
  }

  /** `undefined`: it cannot be told yet where to go on. */
  async #read(
    client: Parameters<Parameters<QuestionPool["ask"]>[1]>[0],
    request: SnapshotRequest,
    watches: Watches,
  ): Promise<Taken | undefined> {
    const { publications, maxRows, timeoutMs, resumer } = this.#options;
    const { principal } = request;
    const noted = resumer.recent.end; // before the snapshot
    if (noted === undefined) return undefined;
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(tooSlow()), timeoutMs);
    const signal = AbortSignal.any([request.signal, late.signal]);
    try {
      const reading = await SnapshotReading.begin({
        client,
        types: this.#types,
        publications,
        principal,
        timeoutMs,
        maxRows,
      });
      const start = this.#startOf(reading, { noted, watches });
      if (start === undefined) return undefined;
      const marked = this.#mark(reading);
      marked.catch(() => undefined); // it is told when it is waited for
      for (const [table, asked] of request.tables.entries()) {
        let held: readonly Buffer[] | undefined;
        for await (const rows of reading.rows(asked, request.pageRows, signal)) {
          this.#options.metrics.snapshotRows.inc(rows.length);
          if (held !== undefined)
            await request.send({ table, rows: held, position: start.after, isLast: false }, signal);
          signal.throwIfAborted();
          held = rows;
        }
        await request.send({ table, rows: held ?? [], position: start.after, isLast: true }, signal);
      }
      return { reading, start, noted, marked };
    } finally {
      clearTimeout(timer);
      await client.query("ROLLBACK").catch((cause: unknown) => {
        throw new DatabaseUnavailableError({ cause });
      });
    }
  }

  #startOf(
    { place }: SnapshotReading,
    { noted, watches }: { readonly noted: Position; readonly watches: Watches },
  ): SnapshotStart | undefined {
    const { recent } = this.#options.resumer;
    const start = startOf(place, { batches: recent.batches, noted });
    const since = recent.start ?? noted;
    this.#horizons = this.#horizons.filter(({ at }) => comparePositions(at, since) >= 0).slice(-horizonsLimit);
    if (this.#horizons.at(-1)?.nextXid !== place.nextXid) this.#horizons.push({ at: noted, nextXid: place.nextXid });
    const horizon = this.#horizons[0]?.nextXid ?? place.nextXid;
    const watch = place.waitsForStandbys ? watches.withStandbys : watches.alone;
    const attempt = { sees: place.sees, horizon, unseen: start.unseen, spanMs: recent.spanMs };
    return watch.isClear(attempt, performance.now()) ? start : undefined;
  }

  async #mark({ place }: SnapshotReading): Promise<void> {
    const { end } = this.#options.resumer.recent;
    if (end === undefined || end.commitLsn < place.beforeLsn) await this.#marker.mark();
  }

  /** What the snapshot sees must be behind: then nothing that it sees can come any more. */
  async #catchUp({ reading: { place }, start, noted, marked }: Taken, signal: AbortSignal): Promise<AfterSnapshot> {
    await marked;
    await this.#options.resumer.passed(place.beforeLsn, signal);
    signal.throwIfAborted();
    const { end } = this.#options.resumer.recent;
    if (end?.epoch !== noted.epoch) {
      throw new SnapshotInterruptedError("changes were lost meanwhile");
    }
    return { after: start.after, omits: (xid) => isVisibleIn(place.sees, xid) };
  }
}

type Watches = Readonly<Record<keyof typeof patienceMs, SuspectWatch>>;

interface Taken {
  readonly reading: SnapshotReading;
  readonly start: SnapshotStart;
  readonly noted: Position;
  readonly marked: Promise<void>;
}

const tooSlow = (): SnapshotRefusedError =>
  new SnapshotRefusedError("it took longer than SNAPSHOT_TIMEOUT_MS; ask for fewer rows, or read faster");
