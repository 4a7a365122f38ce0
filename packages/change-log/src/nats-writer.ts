import { randomUUID } from "node:crypto";
import { headers, type NatsConnection } from "@nats-io/nats-core";
import { jetstreamManager, type JetStreamClient, type JetStreamManager, type StreamInfo } from "@nats-io/jetstream";
import { zeroLsn, type Lsn, type Position } from "@walcast/model";
import { encodeBatch, epochBeginning, markBatch, type Batch } from "./batch.ts";
import { AppendRefusedError, ChangeLogMisfitError, ChangeLogUnavailableError } from "./errors.ts";
import { findEnd, inFlightLimit, messageId, splitParts, withTrace, type StoredPart } from "./nats-parts.ts";
import {
  canBeAtomic,
  ensureStream,
  factsOf,
  isFenced,
  partBytesLimit,
  storeFacts,
  type LogFacts,
  type StreamSettings,
} from "./nats-stream.ts";
import type { ChangeLogWriter } from "./ports.ts";
import { changeSubject, streamName } from "./subjects.ts";

export interface NatsWriterSettings extends StreamSettings {
  readonly batchBytes: number;
  /** The server's `sync_interval`; nats-server's default is two minutes. */
  readonly syncIntervalMs: number;
  /** How long to wait for the acknowledgement of one message. */
  readonly ackTimeoutMs: number;
}

/**
 * Appends so that the log can neither repeat nor skip a batch, whatever happens to messages and acknowledgements (design:
 * "One writer, no duplicates in the log"). Each message says what the stream must end with, twice:
 *
 * - `Nats-Expected-Last-Sequence`: the sequence, counted on by one for each message in flight. It keeps out a writer that
 *   does not know the log's end.
 * - `Nats-Expected-Last-Msg-Id`: the id of this writer's message before it (none for its first). It breaks the chain of a
 *   refused writer for good: by sequence alone, its second message in flight would fit again as soon as another writer has
 *   stored one message, and the log would have a hole there.
 *
 * A writer begins with as many marks as a former one may have in flight, so that the stream ends beyond all sequences those
 * can expect, and the second rule is needed only while the marks are stored. What stands before its marks is the log from
 * then on, which is why only then the writer looks where the log ends.
 *
 * A stream of nats-server 2.15 with three replicas takes nothing any more, from anybody, not even after a restart, when it
 * has refused a message in flight for its chain. There the marks are stored at once or not at all, and the first rule is
 * enough: nothing of a former writer comes between them. (It is not where a crash may take a part of the marks.)
 *
 * Ids are the writer's own, so the server's duplicate window plays no part.
 */
export class NatsWriter implements ChangeLogWriter {
  readonly syncIntervalMs: number;
  readonly batchBytesLimit: number;
  readonly #js: JetStreamClient;
  readonly #jsm: JetStreamManager;
  readonly #settings: NatsWriterSettings;
  readonly #stream: string;
  readonly #partBytes: number;
  /** Marks are stored at once, and messages are chained by their sequences alone. */
  readonly #isAtomic: boolean;
  readonly #id = randomUUID();
  #facts: LogFacts;
  #last: Position | undefined;
  #previous: Position | undefined;
  /** Messages given a place in the log so far. */
  #count = 0;
  #sequence: number;
  /** The newest message of this writer that the server acknowledged; all before it are stored too. */
  #stored: { readonly sequence: number; readonly id: string } | undefined;
  #appendedMs = performance.now();
  #failure: Error | undefined;
  /** Messages that wait for room, in order: the sequences they expect are given out already. */
  readonly #waiting: (() => void)[] = [];
  #inFlight = 0;

  private constructor(from: {
    js: JetStreamClient;
    jsm: JetStreamManager;
    settings: NatsWriterSettings;
    partBytes: number;
    isAtomic: boolean;
    end: LogEnd;
  }) {
    this.#js = from.js;
    this.#jsm = from.jsm;
    this.#settings = from.settings;
    this.#stream = streamName(from.settings.source);
    this.#partBytes = from.partBytes;
    this.#isAtomic = from.isAtomic;
    this.#facts = from.end.facts;
    this.#sequence = from.end.sequence;
    this.#goOnFrom(from.end);
    this.syncIntervalMs = from.settings.syncIntervalMs;
    this.batchBytesLimit = Math.min(from.settings.batchBytes, from.partBytes);
  }

  /** Creates or checks the stream and finds its end. Throws ChangeLogUnavailableError and ChangeLogMisfitError. */
  static async open(nc: NatsConnection, settings: NatsWriterSettings): Promise<NatsWriter> {
    const partBytes = partBytesLimit(nc);
    try {
      const jsm = await jetstreamManager(nc, { checkAPI: false });
      const wanted = { ...settings, isAtomic: canBeAtomic(nc, settings) };
      for (let attempt = 1; ; attempt++) {
        const info = await ensureStream(jsm, wanted);
        const end = await endOf(jsm, info);
        const isAtomic = wanted.isAtomic && info.config.allow_atomic === true;
        const writer = new NatsWriter({ js: jsm.jetstream(), jsm, settings, partBytes, isAtomic, end });
        if (!(await writer.#claim(end, { isLastAttempt: attempt === claimAttempts }))) continue;
        writer.#goOnFrom(await endOf(jsm, await ensureStream(jsm, wanted), end.sequence));
        return writer;
      }
    } catch (error) {
      if (error instanceof ChangeLogMisfitError) throw error;
      throw new ChangeLogUnavailableError(`cannot open stream ${streamName(settings.source)}`, { cause: error });
    }
  }

  #goOnFrom({ facts, last }: LogEnd): void {
    this.#facts = facts;
    // A former writer may have raised the epoch and died: the break in continuity is still to be told.
    this.#last = this.#previous = last?.epoch === facts.epoch ? last : undefined;
  }

  get last(): Position | undefined {
    return this.#last;
  }

  get epoch(): number {
    return this.#facts.epoch;
  }

  get origin(): string | undefined {
    return this.#facts.origin;
  }

  async append(batch: Batch): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const bytes = encodeBatch(batch, this.#previous);
    this.#previous = batch.last;
    this.#appendedMs = performance.now();
    const subject = changeSubject(this.#settings.source, batch);
    const parts = splitParts(bytes, this.#partBytes);
    await Promise.all(parts.map((part) => this.#publish(subject, withTrace(part, batch.traceparent))));
  }

  async verify(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    // Retention empties an idle log, and the next leader could not name what precedes its first batch.
    const idleMs = performance.now() - this.#appendedMs;
    if (this.#previous !== undefined && idleMs > this.#settings.retentionMs / 4)
      await this.append(markBatch(this.#previous));
    const stored = this.#stored;
    if (stored === undefined) return;
    try {
      const message = await this.#jsm.streams.getMessage(this.#stream, { seq: stored.sequence });
      if (message?.header.get("Nats-Msg-Id") === stored.id) return;
      // Retention may have taken it, but only from the front.
      if (message === null && (await this.#jsm.streams.info(this.#stream)).state.first_seq > stored.sequence) return;
    } catch (error) {
      throw this.#fail(error);
    }
    throw (this.#failure ??= new ChangeLogUnavailableError(`stream ${this.#stream} lost what it had acknowledged`));
  }

  async recordOrigin(origin: string): Promise<void> {
    await this.#store({ epoch: this.epoch, origin });
  }

  async raiseEpoch({ origin, startLsn }: { origin: string | undefined; startLsn: Lsn }): Promise<void> {
    await this.#store({ epoch: this.epoch + 1, origin });
    this.#last = this.#previous = undefined;
    await this.append(markBatch(epochBeginning(this.epoch, startLsn)));
  }

  async #store(facts: LogFacts): Promise<void> {
    try {
      await storeFacts(this.#jsm, this.#stream, facts);
      this.#facts = facts;
    } catch (cause) {
      throw new ChangeLogUnavailableError(`cannot update stream ${this.#stream}`, { cause });
    }
  }

  close(): Promise<void> {
    this.#failure ??= new ChangeLogUnavailableError("this writer was closed");
    return Promise.resolve();
  }

  /** From here on a former writer is refused. False when its message came between: the end is to be found again. */
  async #claim({ last }: LogEnd, { isLastAttempt }: { isLastAttempt: boolean }): Promise<boolean> {
    const mark = markBatch(last ?? { epoch: this.epoch, commitLsn: zeroLsn, index: 0 });
    this.#previous = mark.last; // a mark without a predecessor begins an epoch
    try {
      if (this.#isAtomic) await this.#storeMarks(mark);
      else await Promise.all(Array.from({ length: inFlightLimit }, () => this.append(mark)));
      return true;
    } catch (error) {
      if (isLastAttempt || !(error instanceof AppendRefusedError)) throw error;
      return false;
    }
  }

  /** All of them or none. Throws AppendRefusedError. */
  async #storeMarks(mark: Batch): Promise<void> {
    const subject = changeSubject(this.#settings.source, mark);
    const bytes = encodeBatch(mark, mark.last);
    const named = (count: number) => {
      const own = headers();
      own.set("Nats-Msg-Id", messageId(this.#id, count));
      return { headers: own, timeout: this.#settings.ackTimeoutMs };
    };
    const last = inFlightLimit - 1;
    try {
      const batch = await this.#js.startBatch(subject, bytes, {
        ...named(0),
        expect: { lastSequence: this.#sequence },
      });
      for (let count = 1; count < last; count++) batch.add(subject, bytes, named(count));
      const { seq } = await batch.commit(subject, bytes, named(last));
      this.#stored = { sequence: seq, id: messageId(this.#id, last) };
      this.#sequence = seq;
      this.#count = inFlightLimit;
    } catch (cause) {
      if (isFenced(cause) || isRefusedBatch(cause)) throw new AppendRefusedError(this.#stream, { cause });
      throw cause;
    }
  }

  #publish(subject: string, part: StoredPart): Promise<void> {
    const place = { sequence: this.#sequence++, count: this.#count++ };
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push(() => {
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#inFlight++;
      // A failure must be known before there is room for another message.
      this.#send(subject, part, place)
        .then(resolve, (error: unknown) => reject(this.#fail(error)))
        .finally(() => {
          this.#inFlight--;
          this.#sendWaiting();
        });
    });
    this.#sendWaiting();
    return promise;
  }

  #sendWaiting(): void {
    while (this.#inFlight < inFlightLimit && this.#waiting.length > 0) this.#waiting.shift()?.();
  }

  async #send(
    subject: string,
    { data, headers }: StoredPart,
    place: { sequence: number; count: number },
  ): Promise<void> {
    const { sequence, count } = place;
    const { seq } = await this.#js.publish(subject, data, {
      msgID: messageId(this.#id, count),
      expect: {
        lastSequence: sequence,
        ...(count === 0 || this.#isAtomic ? {} : { lastMsgID: messageId(this.#id, count - 1) }),
      },
      timeout: this.#settings.ackTimeoutMs,
      ...(headers === undefined ? {} : { headers }),
    });
    if (seq > (this.#stored?.sequence ?? 0)) this.#stored = { sequence: seq, id: messageId(this.#id, count) };
  }

  #fail(error: unknown): Error {
    this.#failure ??= isFenced(error)
      ? new AppendRefusedError(this.#stream, { cause: error })
      : new ChangeLogUnavailableError(`stream ${this.#stream} did not acknowledge a batch`, { cause: error });
    return this.#failure;
  }
}

/**
 * The library does not say why a batch was not stored. It was sent whole, so as a rule its beginning did not fit; for any
 * other reason the next tries fail, too, and the last one throws.
 */
const isRefusedBatch = (error: unknown): boolean =>
  error instanceof Error && error.message.startsWith("batch didn't contain");

/** How often a writer that opens may be disturbed by what a former one still sends. */
const claimAttempts = 10;

interface LogEnd {
  readonly facts: LogFacts;
  readonly last: Position | undefined;
  readonly sequence: number;
}

/** Where the log ends, up to message `sequence`. */
async function endOf(jsm: JetStreamManager, info: StreamInfo, sequence = info.state.last_seq): Promise<LogEnd> {
  const { first_seq: firstSequence, messages } = info.state;
  const lowest = messages > 0 ? firstSequence : sequence + 1;
  const last = await findEnd(jsm, info.config.name, { sequence, lowest });
  const facts = factsOf(info);
  return { facts: { ...facts, epoch: Math.max(facts.epoch, last?.epoch ?? 0) }, last, sequence };
}
