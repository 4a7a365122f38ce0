import type { ChangeLog, LoggedBatch, LoggedRelation, Reading } from "@walcast/change-log";
import type { Service } from "@walcast/lifecycle";
import { formatPosition, type Position, type Relation } from "@walcast/model";
import { resumeGap } from "@walcast/protocol";
import { describeError, type Health, type Logger } from "@walcast/telemetry";
import { FanOut, type Publish } from "./fan-out.ts";
import type { Groups } from "./group.ts";
import type { GatewayMetrics } from "./metrics.ts";
import type { Connection } from "./connection.ts";

export interface GatewayOptions {
  /** Called by each run; closed at its end. */
  readonly openChangeLog: () => Promise<ChangeLog>;
  readonly groups: Groups;
  readonly publish: Publish;
  /** Of a change with larger records only the short values are sent; 0: records of any size are sent. */
  readonly maxRecordBytes: number;
  readonly connections: () => Iterable<Connection>;
  readonly health: Health;
  readonly metrics: GatewayMetrics;
  readonly log: Logger;
}

/** A relation with what is kept for as long as it stays the same. */
interface KnownRelation {
  /** As the batch at hand says it. */
  logged: LoggedRelation;
  readonly relation: Relation;
  readonly fanOut: FanOut;
}

/** Relations remembered by their text; beyond this the oldest is forgotten and read again when needed. */
const knownRelationsLimit = 10_000;

/** Reads the log from its end and hands each change to the groups that want it. */
export class Gateway implements Service {
  readonly name = "gateway";
  readonly #options: GatewayOptions;
  readonly #relations = new Map<string, KnownRelation>();
  #pinned = Promise.withResolvers<void>();
  #last: Position | undefined;

  constructor(options: GatewayOptions) {
    this.#options = options;
    options.health.starting("change log");
    options.health.fact("position", () => (this.#last === undefined ? null : formatPosition(this.#last)));
  }

  /** Resolves when the place in the log is pinned: what is committed after that is delivered. */
  reading(): Promise<void> {
    return this.#pinned.promise;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { openChangeLog, health } = this.#options;
    const changeLog = await openChangeLog().catch((error: unknown) => {
      health.set("change log", error);
      throw error;
    });
    try {
      const reading = await this.#pin(changeLog, signal);
      await this.#fanOut(reading, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#pinned = Promise.withResolvers();
      await changeLog.close();
    }
  }

  /** A run after a failure goes on where the former one was. */
  async #pin(changeLog: ChangeLog, signal: AbortSignal): Promise<Reading> {
    const { health, log } = this.#options;
    let isTroubled = false;
    const onTrouble = (trouble: Error | undefined): void => {
      health.set("change log", trouble);
      if (trouble !== undefined)
        log.warn(describeError(trouble), "reading the log is in trouble and goes on when it can");
      else if (isTroubled) log.info("reading the log goes on");
      isTroubled = trouble !== undefined;
    };
    const from = this.#last === undefined ? "now" : { after: this.#last };
    const reading = await changeLog.read({ from, signal, onTrouble });
    this.#last = reading.start;
    health.set("change log", undefined);
    this.#pinned.resolve();
    log.info({ position: this.#last === undefined ? null : formatPosition(this.#last) }, "reading the log");
    return reading;
  }

  /** THE loop. */
  async #fanOut(reading: Reading, signal: AbortSignal): Promise<void> {
    for await (const entry of reading) {
      if (entry.tag === "gap") {
        this.#tellGap(entry.after, entry.next);
        continue;
      }
      this.#deliver(entry.batch, entry.after);
      this.#last = entry.batch.header.last;
      // What was published leaves at the end of this turn of the event loop, in one write per socket.
      await new Promise(setImmediate);
      if (signal.aborted) return;
    }
  }

  #deliver(batch: LoggedBatch, after: Position | undefined): void {
    const { groups, metrics } = this.#options;
    let known: KnownRelation | undefined;
    for (const change of batch.changes(after)) {
      metrics.changes.inc();
      if (known?.logged !== change.relation) known = this.#known(change.relation);
      const { relation, fanOut } = known;
      if (!groups.index.concerns(relation)) continue;
      const matches = groups.index.match(relation, change);
      if (matches.size === 0) continue;
      fanOut.change(change, matches);
      metrics.frames.inc(matches.size);
      for (const { group } of matches.keys()) metrics.deliveries.inc(group.members);
    }
  }

  /** Equal text is the same relation: its columns are one array, which the index relies on. */
  #known(logged: LoggedRelation): KnownRelation {
    let known = this.#relations.get(logged.text);
    if (known === undefined) {
      const { publish, maxRecordBytes } = this.#options;
      const relation = logged.parse();
      known = { logged, relation, fanOut: new FanOut(relation, publish, { maxRecordBytes }) };
      const oldest = this.#relations.size >= knownRelationsLimit ? this.#relations.keys().next().value : undefined;
      if (oldest !== undefined) this.#relations.delete(oldest);
      this.#relations.set(logged.text, known);
    }
    known.logged = logged;
    return known;
  }

  #tellGap(after: Position, next: Position): void {
    const { log, metrics, connections } = this.#options;
    const positions = { after: formatPosition(after), current: formatPosition(next) };
    metrics.gaps.inc();
    log.error(positions, "changes are missing from the log: subscribers are told to read their rows again");
    for (const connection of connections()) connection.systemToSubscribed((topic) => resumeGap(topic, positions));
  }
}
