import type { ChangeLog, ChangeLogWriter } from "@walcast/change-log";
import { backoff, sleep, type Service } from "@walcast/lifecycle";
import { formatLsn, formatPosition, zeroLsn } from "@walcast/model";
import { decodeMessage, type RelationMessage } from "@walcast/pgoutput";
import type { Database } from "@walcast/postgres";
import { describeError, type Health, type Logger } from "@walcast/telemetry";
import { Acknowledger } from "./acknowledger.ts";
import { BatchBuilder, type NumberedBatch } from "./batch-builder.ts";
import type { ReplicationConfig } from "./config.ts";
import { SlotBusyError } from "./errors.ts";
import type { IngesterMetrics } from "./metrics.ts";
import { Catalog } from "./postgres/catalog.ts";
import { acquireLeaderLock, type LeaderLock } from "./postgres/leader-lock.ts";
import { checkServer, ensurePublications } from "./postgres/preflight.ts";
import { ReplicationStream, type Turn } from "./postgres/replication-stream.ts";
import { createSlot, inspectSlot, type Slot } from "./postgres/slot.ts";
import { PublishWindow } from "./publish-window.ts";

export interface IngesterOptions {
  readonly config: ReplicationConfig;
  readonly database: Database;
  /** Called by each run; closed at its end. */
  readonly openChangeLog: () => Promise<ChangeLog>;
  readonly log: Logger;
  readonly health: Health;
  readonly metrics: IngesterMetrics;
}

type Role = "starting" | "standby" | "leader";

/** How often the leader looks at its slot; the question also proves that the connection holding the lock is alive. */
const inspectEveryMs = 5_000;
const tagRelation = 0x52;

/**
 * Reads one slot and appends to the log, while it holds the leader lock:
 *
 *   starting ─connected─► standby ─lock─► leader ─trouble of any kind─► starting
 *
 * Every trouble ends the lead and begins a new one, from what the log holds: nothing in memory survives, so nothing in
 * memory can be wrong.
 */
export class Ingester implements Service {
  readonly name = "ingester";
  readonly #options: IngesterOptions;
  #role: Role = "starting";

  constructor(options: IngesterOptions) {
    this.#options = options;
    options.health.starting("replication");
    options.health.starting("change log");
    options.health.fact("role", () => this.#role);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { openChangeLog, health } = this.#options;
    const changeLog = await openChangeLog().catch((error: unknown) => {
      health.set("change log", error);
      throw error;
    });
    health.set("change log", undefined);
    try {
      await this.#takeTurns(changeLog, signal);
    } finally {
      await changeLog.close();
    }
  }

  /** Standby, leader, and again, until the signal fires. */
  async #takeTurns(changeLog: ChangeLog, signal: AbortSignal): Promise<void> {
    const { database, config, log, health } = this.#options;
    for (let failures = 0; !signal.aborted;) {
      let lock: LeaderLock | undefined;
      try {
        const onStandby = (): void => {
          if (this.#role !== "standby") log.info({ slot: config.SLOT_NAME }, "standby: another ingester leads");
          this.#setRole("standby");
          health.set("replication", undefined);
          failures = 0;
        };
        lock = await acquireLeaderLock({ database, slot: config.SLOT_NAME, signal, onStandby });
        if (lock === undefined) return;
        await this.#lead({ changeLog, lock, signal, onProgress: () => (failures = 0) });
      } catch (error) {
        if (signal.aborted) return;
        failures++;
        health.set("replication", error);
        // A slot that the former leader's walsender still holds is free in a moment: not yet worth a warning.
        const level = failures <= 3 && error instanceof SlotBusyError ? "info" : "error";
        log[level](describeError(error), "ingesting was interrupted and is tried again");
        await backoff(failures, signal, { maxMs: failures < 10 ? 1_000 : 10_000 });
      } finally {
        this.#setRole("starting");
        await lock?.release();
      }
    }
  }

  async #lead(turn: {
    readonly changeLog: ChangeLog;
    readonly lock: LeaderLock;
    readonly signal: AbortSignal;
    readonly onProgress: () => void;
  }): Promise<void> {
    const { changeLog, lock, signal, onProgress } = turn;
    const { config, database, log, health, metrics } = this.#options;
    this.#setRole("leader");
    const ended = new AbortController();
    const leading = AbortSignal.any([signal, lock.lost, ended.signal]);
    let stream: ReplicationStream | undefined;
    try {
      const writer = await changeLog.openWriter();
      const slot = await this.#prepare(lock, writer);
      const catalog = new Catalog(lock.client);
      await catalog.loadBuiltIn();
      const acknowledger = new Acknowledger({ syncIntervalMs: writer.syncIntervalMs, confirmedLsn: slot.confirmedLsn });
      stream = await ReplicationStream.start({
        database,
        slot: config.SLOT_NAME,
        publications: config.PUBLICATIONS,
        from: writer.last?.commitLsn ?? zeroLsn,
        confirmable: () => acknowledger.flushedLsn(performance.now()),
      });
      log.info(
        {
          slot: config.SLOT_NAME,
          confirmedLsn: formatLsn(slot.confirmedLsn),
          logEnd: writer.last === undefined ? null : formatPosition(writer.last),
        },
        "leader: replication started",
      );
      health.set("replication", undefined);
      health.fact("publishedLsn", () => formatLsn(acknowledger.publishedLsn));
      onProgress();
      const inspecting = this.#inspect(lock, leading).catch((error: unknown) => ended.abort(error));
      await this.#ingest({ stream, writer, catalog, acknowledger, leading });
      ended.abort();
      await inspecting;
      if (!signal.aborted) throw leading.reason;
    } finally {
      ended.abort();
      metrics.inFlightBytes.set(0);
      await stream?.stop();
    }
  }

  /** THE loop. */
  async #ingest(parts: {
    readonly stream: ReplicationStream;
    readonly writer: ChangeLogWriter;
    readonly catalog: Catalog;
    readonly acknowledger: Acknowledger;
    readonly leading: AbortSignal;
  }): Promise<void> {
    const { stream, writer, catalog, acknowledger, leading } = parts;
    const window = new PublishWindow({ limitBytes: this.#options.config.PUBLISH_WINDOW_BYTES });
    const builder = new BatchBuilder({
      types: catalog.types,
      epoch: writer.epoch,
      skipUpTo: writer.last,
      batchBytesLimit: writer.batchBytesLimit,
      describe: (message) => catalog.describe(decodeMessage(message) as RelationMessage),
    });
    const append = async (batch: NumberedBatch): Promise<void> => {
      const stored = writer.append(batch).then(() => acknowledger.stored(batch.number, performance.now()));
      await window.admit(batch.lines.length, stored); // sets our pace; TCP carries it back to Postgres
      this.#count(batch, window);
    };
    const failed = new AbortController();
    window.failed().catch((error: unknown) => failed.abort(error));

    for await (const turn of stream.turns(AbortSignal.any([leading, failed.signal]))) {
      for (const message of turn.messages) {
        if (message[0] === tagRelation) await catalog.learn(decodeMessage(message) as RelationMessage);
        for (const batch of builder.add(message)) await append(batch);
        if (message[0] === tagCommit) acknowledger.received(commitEnd(message), builder.lastBatch, performance.now());
      }
      if (turn.isIdle) {
        const rest = builder.flush();
        if (rest !== undefined) await append(rest);
      }
      this.#keepalive(turn, builder, acknowledger);
    }
    if (failed.signal.aborted) throw failed.signal.reason;
    await Promise.race([window.drained(), sleep(1_000, new AbortController().signal)]); // what is on its way may still arrive
  }

  /** Outside of transactions a keepalive says how far the server is: an idle database's slot advances by it. */
  #keepalive({ keepaliveLsn }: Turn, builder: BatchBuilder, acknowledger: Acknowledger): void {
    if (keepaliveLsn === undefined || builder.isInTransaction) return;
    acknowledger.received(keepaliveLsn, builder.lastBatch, performance.now());
  }

  async #prepare({ client }: LeaderLock, writer: ChangeLogWriter): Promise<Slot> {
    const { config, log } = this.#options;
    const { SLOT_NAME: name, PUBLICATIONS: publications, CREATE_PUBLICATION: create } = config;
    const serverVersion = await checkServer(client);
    await ensurePublications(client, { publications, create });
    const existing = await inspectSlot(client, name);
    if (existing !== undefined) return existing;
    log.info({ slot: name }, "creating the replication slot; this waits for running transactions to end");
    await createSlot(client, name, serverVersion);
    if (writer.last !== undefined) {
      await writer.raiseEpoch();
      log.error(
        { slot: name, epoch: writer.epoch, logEnd: formatPosition(writer.last) },
        "the slot was gone: changes between the log's end and now are lost, positions begin a new epoch",
      );
    }
    const created = await inspectSlot(client, name);
    if (created === undefined) throw new SlotBusyError(name);
    return created;
  }

  async #inspect({ client }: LeaderLock, signal: AbortSignal): Promise<void> {
    const { config, metrics } = this.#options;
    while (!signal.aborted) {
      const slot = await inspectSlot(client, config.SLOT_NAME);
      metrics.slotLagBytes.set(slot?.lagBytes ?? 0);
      await sleep(inspectEveryMs, signal);
    }
  }

  #count(batch: NumberedBatch, window: PublishWindow): void {
    const { metrics } = this.#options;
    metrics.batches.inc();
    metrics.bytes.inc(batch.lines.length);
    metrics.changes.inc(batch.changes);
    metrics.inFlightBytes.set(window.inFlightBytes);
  }

  #setRole(role: Role): void {
    this.#role = role;
    this.#options.metrics.isLeader.set(role === "leader" ? 1 : 0);
  }
}

const tagCommit = 0x43;

/** The end LSN of a commit message: what may be confirmed once the transaction is safe. */
function commitEnd(message: Uint8Array) {
  const commit = decodeMessage(message);
  return commit.tag === "commit" ? commit.endLsn : zeroLsn;
}
