import type { ChangeLog, Reading } from "@walcast/change-log";
import type { Service } from "@walcast/lifecycle";
import { formatPosition, zeroLsn, type Position } from "@walcast/model";
import { resumeGap } from "@walcast/protocol";
import { describeError, type Health, type Logger, type Tracing } from "@walcast/telemetry";
import type { Connection } from "./connection.ts";
import { traceDelivery } from "./delivery-trace.ts";
import type { Delivery, Recipients } from "./delivery.ts";
import type { Explanations } from "./explanations.ts";
import type { Emit } from "./fan-out.ts";
import type { Groups } from "./group.ts";
import type { GatewayMetrics } from "./metrics.ts";
import type { Readers } from "./readers.ts";
import type { Resumer } from "./resumer.ts";

/** Publishes a frame to every socket subscribed to a name; the server's own code does it, once for all members. */
export type Publish = (name: string, frame: Buffer) => void;

export interface GatewayOptions {
  /** Called by each run; closed at its end. */
  readonly openChangeLog: () => Promise<ChangeLog>;
  readonly groups: Groups;
  readonly delivery: Delivery;
  readonly readers?: Readers | undefined;
  readonly resumer: Resumer;
  readonly explanations?: Explanations;
  readonly publish: Publish;
  /** Takes what the database has to say to channels. */
  readonly broadcast?: Recipients["broadcast"];
  /** Everything up to the position has been delivered. */
  readonly arrived?: (position: Position) => void;
  readonly connections: () => Iterable<Connection>;
  readonly health: Health;
  readonly metrics: GatewayMetrics;
  readonly log: Logger;
  readonly tracing?: Tracing | undefined;
}

/** Reads the log from its end and hands each change to the groups that want it. */
export class Gateway implements Service {
  readonly name = "gateway";
  readonly #options: GatewayOptions;
  readonly #emit: Emit;
  #pinned = Promise.withResolvers<void>();
  #last: Position | undefined;

  constructor(options: GatewayOptions) {
    this.#options = options;
    const { publish, metrics, health } = options;
    this.#emit = (group, frame) => {
      publish(group.name, frame);
      metrics.deliveries.inc(group.members);
    };
    health.starting("change log");
    health.fact("position", () => (this.#last === undefined ? null : formatPosition(this.#last)));
  }

  /** Resolves when the place in the log is pinned: what is committed after that is delivered. */
  reading(): Promise<void> {
    return this.#pinned.promise;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { openChangeLog, health, resumer } = this.#options;
    const changeLog = await openChangeLog().catch((error: unknown) => {
      health.set("change log", error);
      throw error;
    });
    try {
      const reading = await this.#pin(changeLog, signal);
      resumer.begin(changeLog, signal);
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
    const { health, log, resumer } = this.#options;
    let isTroubled = false;
    const onTrouble = (trouble: Error | undefined): void => {
      health.set("change log", trouble);
      if (trouble !== undefined)
        log.warn(describeError(trouble), "reading the log is in trouble and goes on when it can");
      else if (isTroubled) log.info("reading the log goes on");
      isTroubled = trouble !== undefined;
    };
    const isFirst = this.#last === undefined;
    const reading = await changeLog.read({
      from: this.#last === undefined ? "now" : { after: this.#last },
      signal,
      onTrouble,
    });
    this.#last = reading.start;
    if (reading.start !== undefined) this.#options.arrived?.(reading.start);
    if (isFirst) resumer.recent.restart(reading.start);
    health.set("change log", undefined);
    this.#pinned.resolve();
    log.info({ position: this.#last === undefined ? null : formatPosition(this.#last) }, "reading the log");
    return reading;
  }

  /** THE loop. */
  async #fanOut(reading: Reading, signal: AbortSignal): Promise<void> {
    const { groups, readers, broadcast, arrived, delivery, resumer, explanations, metrics, tracing } = this.#options;
    const recipients = { groups, readers, broadcast, emit: this.#emit };
    for await (const entry of reading) {
      if (entry.tag === "gap") {
        this.#tellGap(entry.after, entry.end);
        this.#last = entry.end;
        resumer.recent.restart(entry.end);
        continue;
      }
      const trace = tracing && traceDelivery(tracing, entry.batch);
      const changes = delivery.deliver(entry.batch, entry.after, trace?.watch(recipients) ?? recipients);
      trace?.matched(changes);
      metrics.changes.inc(changes);
      this.#last = entry.batch.header.last;
      arrived?.(this.#last);
      resumer.arrived(entry.batch);
      explanations?.take(entry.batch, entry.after);
      // What was published leaves at the end of this turn of the event loop, in one write per socket.
      await new Promise(setImmediate);
      trace?.published();
      if (signal.aborted) return;
    }
  }

  #tellGap(after: Position, end: Position): void {
    const { log, metrics, connections } = this.#options;
    const positions = { after: formatPosition(after), current: formatPosition(end) };
    // Who came before the first slot was there is told, too; nobody else missed anything.
    if (after.commitLsn === zeroLsn) log.info(positions, "the log begins: a slot feeds it from here on");
    else {
      metrics.gaps.inc();
      log.error(positions, "changes are missing from the log: subscribers are told to read their rows again");
    }
    for (const connection of connections()) connection.systemToSubscribed((topic) => resumeGap(topic, positions));
  }
}
