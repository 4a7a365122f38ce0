import { randomUUID } from "node:crypto";
import type { ChangeLog, ChangeLogWriter } from "@walcast/change-log";
import { backoff, sleep, type Service } from "@walcast/lifecycle";
import { comparePositions, formatLsn, formatPosition, parsePosition, zeroLsn, type Position } from "@walcast/model";
import { decodeMessage, type CommitMessage, type RelationMessage } from "@walcast/pgoutput";
import { Catalog, type Database } from "@walcast/postgres";
import { describeError, type Health, type Logger, type Tracing } from "@walcast/telemetry";
import { Acknowledger } from "./acknowledger.ts";
import { BatchBuilder, type NumberedBatch } from "./batch-builder.ts";
import { BatchTraces } from "./batch-traces.ts";
import type { ReplicationConfig } from "./config.ts";
import { PublicationTooYoungError, SlotBusyError } from "./errors.ts";
import { SilenceWatch, type LeaderHeartbeats } from "./leader-heartbeat.ts";
import { announceLead } from "./lead-announcer.ts";
import type { IngesterMetrics } from "./metrics.ts";
import { acquireLeaderLock, type LeaderLock } from "./postgres/leader-lock.ts";
import { ReplicationStream, type Turn } from "./postgres/replication-stream.ts";
import { PublishWindow } from "./publish-window.ts";
import { prepareSlot } from "./slot-keeper.ts";
import { watchSlot } from "./slot-watch.ts";

/** What the ingester is connected to besides PostgreSQL. */
export interface Connections {
  readonly changeLog: ChangeLog;
  /** Undefined where there can be no standby. */
  readonly heartbeats: LeaderHeartbeats | undefined;
}

export interface IngesterOptions {
  readonly config: ReplicationConfig;
  readonly database: Database;
  /** Called by each run; the log is closed at its end. */
  readonly connect: () => Promise<Connections>;
  readonly log: Logger;
  readonly health: Health;
  readonly metrics: IngesterMetrics;
  readonly tracing?: Tracing | undefined;
}

type Role = "starting" | "standby" | "leader";

const verifyEveryMs = 500;
const tagRelation = 0x52;
const tagCommit = 0x43;
/** Between PostgreSQL's epoch (2000-01-01) and Unix's, in milliseconds. */
const postgresEpochMs = 946_684_800_000;

/**
 * Reads one slot and appends to the log, while it holds the leader lock:
 *
 *   starting ─connected─► standby ─lock─► leader ─trouble of any kind─► starting
 *
 * Every trouble ends the lead and begins a new one, from what the log holds: nothing in memory survives, so nothing in
 * memory can be wrong; but for what the log must not have lost meanwhile.
 */
export class Ingester implements Service {
  readonly name = "ingester";
  readonly #id = randomUUID();
  readonly #options: IngesterOptions;
  #role: Role = "starting";
  /** Why the slot cannot be read although it looks well: what the last lead failed with. */
  #unreadable: string | undefined;
  /** The newest change of which it is known that the log held it and PostgreSQL was told to forget it. */
  #forgotten: Position | undefined;

  constructor(options: IngesterOptions) {
    this.#options = options;
    options.health.starting("replication");
    options.health.starting("change log");
    options.health.fact("role", () => this.#role);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { connect, health } = this.#options;
    const connections = await connect().catch((error: unknown) => {
      health.set("change log", error);
      throw error;
    });
    health.set("change log", undefined);
    try {
      await this.#takeTurns(connections, signal);
    } finally {
      await connections.changeLog.close();
    }
  }

  /** Standby, leader, and again, until the signal fires. */
  async #takeTurns(connections: Connections, signal: AbortSignal): Promise<void> {
    const { log, health, metrics } = this.#options;
    for (let failures = 0; !signal.aborted;) {
      let lock: LeaderLock | undefined;
      try {
        lock = await this.#standBy(connections, signal, () => (failures = 0));
        if (lock === undefined) return;
        await this.#lead({ connections, lock, signal, onProgress: () => (failures = 0) });
      } catch (error) {
        if (signal.aborted) return;
        failures++;
        metrics.interruptions.inc();
        this.#unreadable = error instanceof PublicationTooYoungError ? error.message : undefined;
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

  /** Waits for the lock, and ends a leader that holds it in silence. Undefined when the signal fires first. */
  async #standBy(
    { heartbeats }: Connections,
    signal: AbortSignal,
    onProgress: () => void,
  ): Promise<LeaderLock | undefined> {
    const { database, config, log, health, metrics } = this.#options;
    const silence = new SilenceWatch({ limitMs: config.TAKEOVER_LIMIT_MS, nowMs: performance.now() });
    const stopListening = heartbeats?.listen(({ forgotten }) => {
      silence.heard(performance.now());
      this.#forgot(parsePosition(forgotten ?? ""));
    });
    try {
      return await acquireLeaderLock({
        database,
        slot: config.SLOT_NAME,
        signal,
        onStandby: () => {
          if (this.#role !== "standby") log.info({ slot: config.SLOT_NAME }, "standby: another ingester leads");
          this.#setRole("standby");
          health.set("replication", undefined);
          onProgress();
        },
        isLeaderSilent: () =>
          heartbeats !== undefined && silence.isSilent({ nowMs: performance.now(), canHear: heartbeats.isConnected }),
        onTakeover: (pids) => {
          silence.heard(performance.now()); // ending takes a moment
          metrics.takeovers.inc();
          log.warn({ pids, limitMs: config.TAKEOVER_LIMIT_MS }, "the leader is silent: its connections were ended");
        },
      });
    } finally {
      stopListening?.();
    }
  }

  async #lead(turn: {
    readonly connections: Connections;
    readonly lock: LeaderLock;
    readonly signal: AbortSignal;
    readonly onProgress: () => void;
  }): Promise<void> {
    const { connections, lock, signal, onProgress } = turn;
    const { config, database, log, health, metrics } = this.#options;
    this.#setRole("leader");
    const ended = new AbortController();
    const leading = AbortSignal.any([signal, lock.lost, ended.signal]);
    const announcer = announceLead(connections.heartbeats, this.#id);
    let stream: ReplicationStream | undefined;
    try {
      const writer = await connections.changeLog.openWriter();
      const { client } = lock;
      const known = { unreadable: this.#unreadable, forgotten: this.#forgotten };
      const slot = await prepareSlot({ config, database, client, writer, log, metrics, ...known });
      const catalog = new Catalog(client);
      await catalog.loadBuiltIn();
      const acknowledger = new Acknowledger({ syncIntervalMs: writer.syncIntervalMs, confirmedLsn: slot.confirmedLsn });
      let verifiedMs = Number.NEGATIVE_INFINITY;
      stream = await ReplicationStream.start({
        database,
        slot: config.SLOT_NAME,
        publications: config.PUBLICATIONS,
        from: writer.last?.commitLsn ?? zeroLsn,
        confirmable: () => {
          const confirmable = acknowledger.flushedLsn(verifiedMs);
          this.#forgot(acknowledger.flushedChange);
          return confirmable;
        },
      });
      log.info(
        {
          slot: config.SLOT_NAME,
          confirmedLsn: formatLsn(slot.confirmedLsn),
          logEnd: writer.last === undefined ? null : formatPosition(writer.last),
        },
        "leader: replication started",
      );
      metrics.isLeader.set(1); // not while it only tries to: nobody leads then
      health.set("replication", undefined);
      health.fact("publishedLsn", () => formatLsn(acknowledger.publishedLsn));
      onProgress();
      announcer.positions = () => ({
        epoch: writer.epoch,
        publishedLsn: formatLsn(acknowledger.publishedLsn),
        confirmedLsn: formatLsn(acknowledger.flushedLsn(verifiedMs)),
        forgotten: this.#forgotten === undefined ? null : formatPosition(this.#forgotten),
      });
      const watching = watchSlot({
        client,
        config,
        health,
        metrics,
        publishedLsn: () => acknowledger.publishedLsn,
        onLag: (lagBytes) => announcer.setLag(lagBytes),
        signal: leading,
      }).catch((error: unknown) => ended.abort(error));
      const verifying = verifyLog(writer, (atMs) => (verifiedMs = atMs), leading).catch((error: unknown) =>
        ended.abort(error),
      );
      await this.#ingest({ stream, writer, catalog, acknowledger, leading });
      ended.abort();
      await Promise.all([watching, verifying]);
      if (!signal.aborted) throw leading.reason;
    } finally {
      ended.abort();
      announcer.stop();
      metrics.inFlightBytes.set(0);
      metrics.lagSeconds.set(0);
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
    const { config, metrics, tracing } = this.#options;
    const traces = tracing && new BatchTraces(tracing);
    const window = new PublishWindow({
      limitBytes: config.PUBLISH_WINDOW_BYTES,
      overheadBytes: 2048,
      onChange: (bytes) => metrics.inFlightBytes.set(bytes),
    });
    const builder = new BatchBuilder({
      types: catalog.types,
      epoch: writer.epoch,
      skipUpTo: writer.last,
      batchBytesLimit: writer.batchBytesLimit,
      describe: (message) => catalog.describe(decodeMessage(message) as RelationMessage),
    });
    const append = async (batch: NumberedBatch): Promise<void> => {
      const stored = appendTraced(writer, batch, traces).then(() =>
        acknowledger.stored(batch.number, performance.now()),
      );
      await window.admit(batch.lines.length, stored); // sets our pace; TCP carries it back to Postgres
      this.#count(batch);
    };
    const failed = new AbortController();
    window.failed().catch((error: unknown) => failed.abort(error));

    for await (const turn of stream.turns(AbortSignal.any([leading, failed.signal]))) {
      traces?.read(builder);
      let commit: { readonly message: Uint8Array; readonly lastBatch: number } | undefined;
      for (const message of turn.messages) {
        if (message[0] === tagRelation) await catalog.learn(decodeMessage(message) as RelationMessage);
        const completed = builder.add(message);
        if (completed.length > 0) for (const batch of completed) await append(batch);
        if (message[0] === tagCommit) commit = { message, lastBatch: builder.lastBatch };
      }
      if (commit !== undefined) {
        // The last one speaks for those before it.
        const { commitLsn, endLsn, committedAtMicros } = decodeMessage(commit.message) as CommitMessage;
        const { lastChange } = builder;
        const change = lastChange !== undefined && lastChange.commitLsn <= commitLsn ? lastChange : undefined;
        acknowledger.received(endLsn, commit.lastBatch, performance.now(), change);
        metrics.lagSeconds.set((Date.now() - postgresEpochMs - Number(committedAtMicros) / 1000) / 1000);
      }
      if (turn.isIdle) {
        const rest = builder.flush();
        if (rest !== undefined) await append(rest);
        metrics.lagSeconds.set(0);
      }
      keepalive(turn, builder, acknowledger);
    }
    if (failed.signal.aborted) throw failed.signal.reason;
    await Promise.race([window.drained(), sleep(1_000, new AbortController().signal)]); // what is on its way may still arrive
  }

  #count(batch: NumberedBatch): void {
    const { metrics } = this.#options;
    metrics.batches.inc();
    metrics.bytes.inc(batch.lines.length);
    metrics.changes.inc(batch.changes);
  }

  #forgot(change: Position | undefined): void {
    if (change === undefined) return;
    if (this.#forgotten === undefined || comparePositions(change, this.#forgotten) > 0) this.#forgotten = change;
  }

  #setRole(role: Role): void {
    this.#role = role;
    if (role !== "leader") this.#options.metrics.isLeader.set(0);
  }
}

/** `writer.append`, and the trace of a batch that is in the sample. */
function appendTraced(writer: ChangeLogWriter, batch: NumberedBatch, traces: BatchTraces | undefined): Promise<void> {
  const traced = traces?.append(batch);
  if (traced === undefined) return writer.append(batch);
  const stored = writer.append({ ...batch, traceparent: traced.traceparent });
  stored.then(
    () => traced.end(),
    (error: unknown) => traced.end(error),
  );
  return stored;
}

/**
 * What the log acknowledged a sync interval ago is on its disk, unless it crashed meanwhile: so it is asked, and only what
 * was old enough when it was asked is confirmed.
 */
async function verifyLog(
  writer: ChangeLogWriter,
  onVerified: (atMs: number) => void,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const atMs = performance.now();
    await writer.verify();
    onVerified(atMs);
    await sleep(verifyEveryMs, signal);
  }
}

/** Outside of transactions a keepalive says how far the server is: an idle database's slot advances by it. */
function keepalive({ keepaliveLsn }: Turn, builder: BatchBuilder, acknowledger: Acknowledger): void {
  if (keepaliveLsn === undefined || builder.isInTransaction) return;
  acknowledger.received(keepaliveLsn, builder.lastBatch, performance.now(), builder.lastChange);
}
