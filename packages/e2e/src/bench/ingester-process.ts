import { jetstreamManager } from "@nats-io/jetstream";
import { NatsChangeLog, streamName, type ChangeLog, type ChangeLogWriter } from "@walcast/change-log";
import { createMetrics, Ingester, type Connections, type NumberedBatch } from "@walcast/ingester";
import { createLogger, Health, Registry } from "@walcast/telemetry";

// The ingester as a process of its own, as in production, that also tells its parent when it started to stream, and when
// the log had acknowledged what. Times are process.hrtime, one clock for all processes of the machine.

export interface BenchOrder {
  readonly database: { readonly connectionString: string };
  readonly natsUrl: string;
  readonly slot: string;
  readonly source: string;
  /** Report when the log holds this many changes; 0: report each acknowledgement. */
  readonly changes: number;
}

export type BenchReport =
  | { readonly tag: "acknowledged"; readonly changes: number; readonly atNs: string }
  | {
      readonly tag: "drained";
      readonly elapsedMs: number;
      readonly cpuMicros: number;
      readonly rssBytes: number;
    };

process.once("message", (order: BenchOrder) => void run(order));

async function run(order: BenchOrder): Promise<void> {
  const stop = new AbortController();
  const log = createLogger("bench", { level: "warn", format: "text" });
  const metrics = createMetrics(new Registry());
  let started: { atMs: number; cpu: NodeJS.CpuUsage } | undefined;
  let acknowledged = 0;
  // The clock starts with streaming: the yardstick's time of connecting and starting is taken off, too.
  const health = new (class extends Health {
    override set(part: string, error: unknown): void {
      super.set(part, error);
      if (part === "replication" && error === undefined)
        started ??= { atMs: performance.now(), cpu: process.cpuUsage() };
    }
  })();
  const observe = (writer: ChangeLogWriter): ChangeLogWriter => ({
    ...pick(writer),
    append: async (batch) => {
      await writer.append(batch);
      acknowledged += (batch as NumberedBatch).changes;
      if (order.changes === 0)
        tell({ tag: "acknowledged", changes: acknowledged, atNs: String(process.hrtime.bigint()) });
      else if (acknowledged >= order.changes && started !== undefined) {
        const { user, system } = process.cpuUsage(started.cpu);
        const elapsedMs = performance.now() - started.atMs;
        tell({ tag: "drained", elapsedMs, cpuMicros: user + system, rssBytes: process.resourceUsage().maxRSS * 1024 });
      }
    },
  });
  const connect = async (): Promise<Connections> => {
    const changeLog = await NatsChangeLog.connect({
      url: order.natsUrl,
      name: "bench",
      source: order.source,
      backoff: () => Promise.resolve(),
      writing: {
        retentionMs: 3_600_000,
        retentionBytes: 4 * 2 ** 30,
        replicas: 1,
        batchBytes: 262_144,
        syncIntervalMs: 0,
        ackTimeoutMs: 5_000,
      },
    });
    const observed: ChangeLog = {
      openWriter: async () => {
        return observe(await changeLog.openWriter());
      },
      read: (options) => changeLog.read(options),
      close: () => changeLog.close(),
    };
    process.on("disconnect", () => void deleteStream(changeLog, order.source).finally(() => process.exit()));
    return { changeLog: observed, heartbeats: undefined };
  };
  const config = {
    SLOT_NAME: order.slot,
    PUBLICATIONS: ["bench"],
    CREATE_PUBLICATION: false,
    BATCH_BYTES: 262_144,
    PUBLISH_WINDOW_BYTES: 8 * 2 ** 20,
    MAX_REPLICATION_LAG_MB: 0,
    TAKEOVER_LIMIT_MS: 3_000,
  };
  await new Ingester({ config, database: order.database, connect, log, health, metrics }).run(stop.signal);
}

/** A writer's own properties may be getters of a class: an object spread would lose them. */
const pick = (writer: ChangeLogWriter): Omit<ChangeLogWriter, "append"> => ({
  get epoch() {
    return writer.epoch;
  },
  get last() {
    return writer.last;
  },
  syncIntervalMs: writer.syncIntervalMs,
  batchBytesLimit: writer.batchBytesLimit,
  get origin() {
    return writer.origin;
  },
  recordOrigin: (origin) => writer.recordOrigin(origin),
  raiseEpoch: (beginning) => writer.raiseEpoch(beginning),
  verify: () => writer.verify(),
  close: () => writer.close(),
});

function tell(report: BenchReport): void {
  // The parent may have left with what it wanted to know.
  if (process.connected) process.send?.(report, () => undefined);
}

/** JetStream sets a stream's retention aside: many streams would take all the room. */
async function deleteStream(changeLog: NatsChangeLog, source: string): Promise<void> {
  const jsm = await jetstreamManager(changeLog.connection);
  await jsm.streams.delete(streamName(source));
}
