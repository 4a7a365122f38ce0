import { jetstreamManager, type JetStreamClient, type JetStreamManager, type StreamInfo } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { formatPosition, type Position } from "@walcast/model";
import { encodeBatch, tryDecodeHeader, type Batch } from "./batch.ts";
import { AppendRefusedError, ChangeLogMisfitError, ChangeLogUnavailableError } from "./errors.ts";
import { partOf, splitParts } from "./nats-parts.ts";
import {
  ensureStream,
  epochOf,
  isWrongLastSequence,
  partBytesLimit,
  storeEpoch,
  type StreamSettings,
} from "./nats-stream.ts";
import type { ChangeLogWriter } from "./ports.ts";
import { changeSubject, streamName } from "./subjects.ts";

export interface NatsWriterSettings extends StreamSettings {
  readonly batchBytes: number;
  /** The server's `sync_interval`, which no API tells; nats-server's default is two minutes. */
  readonly syncIntervalMs: number;
  /** How long to wait for the acknowledgement of one message. */
  readonly ackTimeoutMs: number;
}

/**
 * Appends with `Nats-Expected-Last-Sequence`: the sequence the stream ends with as this writer knows it, counted on by one
 * for each message in flight. The server refuses any other writer, and everything behind a refused message, so the log can
 * neither repeat nor skip a batch whatever happens to acknowledgements (design: "One writer, no duplicates in the log").
 */
export class NatsWriter implements ChangeLogWriter {
  readonly last: Position | undefined;
  readonly syncIntervalMs: number;
  readonly batchBytesLimit: number;
  readonly #js: JetStreamClient;
  readonly #jsm: JetStreamManager;
  readonly #settings: NatsWriterSettings;
  readonly #stream: string;
  readonly #partBytes: number;
  #epoch: number;
  #previous: Position | undefined;
  #sequence: number;
  #failure: Error | undefined;

  private constructor(from: {
    js: JetStreamClient;
    jsm: JetStreamManager;
    settings: NatsWriterSettings;
    partBytes: number;
    end: LogEnd;
  }) {
    this.#js = from.js;
    this.#jsm = from.jsm;
    this.#settings = from.settings;
    this.#stream = streamName(from.settings.source);
    this.#partBytes = from.partBytes;
    this.#epoch = from.end.epoch;
    this.last = this.#previous = from.end.last;
    this.#sequence = from.end.sequence;
    this.syncIntervalMs = from.settings.syncIntervalMs;
    this.batchBytesLimit = Math.min(from.settings.batchBytes, from.partBytes);
  }

  /** Creates or checks the stream and finds its end. Throws ChangeLogUnavailableError and ChangeLogMisfitError. */
  static async open(nc: NatsConnection, settings: NatsWriterSettings): Promise<NatsWriter> {
    const partBytes = partBytesLimit(nc);
    try {
      const jsm = await jetstreamManager(nc, { checkAPI: false });
      const end = await findEnd(jsm, await ensureStream(jsm, settings));
      return new NatsWriter({ js: jsm.jetstream(), jsm, settings, partBytes, end });
    } catch (error) {
      if (error instanceof ChangeLogMisfitError) throw error;
      throw new ChangeLogUnavailableError(`cannot open stream ${streamName(settings.source)}`, { cause: error });
    }
  }

  get epoch(): number {
    return this.#epoch;
  }

  async append(batch: Batch): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const bytes = encodeBatch(batch, this.#previous);
    this.#previous = batch.last;
    const { schema, table } = batch.relation;
    const subject = changeSubject(this.#settings.source, schema, table);
    const id = formatPosition(batch.first);
    try {
      await Promise.all(
        splitParts(bytes, this.#partBytes).map((part, index) =>
          this.#publish(subject, part.data, { id: index === 0 ? id : `${id}/${index + 1}`, headers: part.headers }),
        ),
      );
    } catch (error) {
      this.#failure ??= isWrongLastSequence(error)
        ? new AppendRefusedError(this.#stream, { cause: error })
        : new ChangeLogUnavailableError(`stream ${this.#stream} did not acknowledge a batch`, { cause: error });
      throw this.#failure;
    }
  }

  async raiseEpoch(): Promise<void> {
    this.#epoch++;
    this.#previous = undefined;
    await storeEpoch(this.#jsm, this.#stream, this.#epoch);
  }

  close(): Promise<void> {
    this.#failure ??= new ChangeLogUnavailableError("this writer was closed");
    return Promise.resolve();
  }

  async #publish(
    subject: string,
    data: Uint8Array,
    { id, headers }: { id: string; headers: ReturnType<typeof splitParts>[number]["headers"] },
  ): Promise<void> {
    const expected = this.#sequence++;
    const ack = await this.#js.publish(subject, data, {
      msgID: id,
      expect: { lastSequence: expected },
      timeout: this.#settings.ackTimeoutMs,
      ...(headers === undefined ? {} : { headers }),
    });
    // The server answers a repeated id without storing: the log then holds that id somewhere this writer did not expect.
    if (ack.seq !== expected + 1) throw new AppendRefusedError(this.#stream);
  }
}

interface LogEnd {
  readonly epoch: number;
  readonly last: Position | undefined;
  readonly sequence: number;
}

/** The last complete batch. What stands behind it is passed over: parts of one that was never finished, strangers' messages. */
async function findEnd(jsm: JetStreamManager, info: StreamInfo): Promise<LogEnd> {
  const { first_seq: firstSequence, last_seq: sequence, messages } = info.state;
  let last: Position | undefined;
  const lowest = messages > 0 ? firstSequence : sequence + 1;
  for (let at = sequence; at >= lowest && last === undefined; at--) {
    const message = await jsm.streams.getMessage(info.config.name, { seq: at });
    const part = partOf(message?.header);
    if (message === null || part.index !== part.count) continue;
    // A complete batch's header is in its first part, which stands count - 1 messages before the last.
    const head =
      part.count === 1 ? message : await jsm.streams.getMessage(info.config.name, { seq: at - part.count + 1 });
    if (head !== null) last = tryDecodeHeader(head.data)?.last;
  }
  return { epoch: Math.max(epochOf(info), last?.epoch ?? 1), last, sequence };
}
