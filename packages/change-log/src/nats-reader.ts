import {
  DeliverPolicy,
  jetstreamManager,
  type ConsumerMessages,
  type ConsumerNotification,
  type JetStreamManager,
  type JsMsg,
  type StreamInfo,
} from "@nats-io/jetstream";
import type { NatsConnection, QueuedIterator, Status } from "@nats-io/nats-core";
import { comparePositions, zeroLsn, type Position } from "@walcast/model";
import { decodeBatch, isBelief, placeBefore, type BatchHeader } from "./batch.ts";
import { continuityOf } from "./continuity.ts";
import { BatchFormatError, ChangeLogUnavailableError } from "./errors.ts";
import { findAtOrBefore, findEnd, partOf, PartJoiner, traceOf } from "./nats-parts.ts";
import type { LogEntry, Reading, ReadOptions } from "./ports.ts";
import { factsOf } from "./nats-stream.ts";
import { streamName } from "./subjects.ts";

/**
 * Messages the server may send ahead of what was taken: what pipelines reading without growing with a burst. Not a number of
 * bytes: a request with less left than the next message's size stalls until heartbeats are missed (seen with 2.9).
 */
const prefetchMessages = 64;

export interface NatsReadingOptions extends ReadOptions {
  readonly nc: NatsConnection;
  readonly source: string;
  /** Resolves after a while, or when the signal fires; grows with each failure in a row. */
  readonly backoff: (failures: number, signal: AbortSignal) => Promise<void>;
}

/** Pins the reader's place, waiting for the stream to exist as long as it takes. */
export async function readNats(options: NatsReadingOptions): Promise<Reading> {
  const { nc, source, from, signal, onTrouble, backoff } = options;
  for (let failures = 1; ; failures++) {
    try {
      const jsm = await jetstreamManager(nc, { checkAPI: false });
      const stream = streamName(source);
      const place = from === "now" ? await findNow(jsm, stream) : await findAfter(jsm, stream, from.after);
      onTrouble?.(undefined);
      return new NatsReading(options, jsm, place);
    } catch (error) {
      signal.throwIfAborted();
      onTrouble?.(new ChangeLogUnavailableError(`cannot read the change log of ${source}`, { cause: error }));
      await backoff(failures, signal);
      signal.throwIfAborted();
    }
  }
}

interface Place {
  /** The stream sequence to read next. */
  readonly sequence: number;
  readonly start: Position | undefined;
  /** Of the batch that was found there. */
  readonly header?: BatchHeader | undefined;
}

async function findNow(jsm: JetStreamManager, stream: string): Promise<Place> {
  const info = await jsm.streams.info(stream);
  const { last_seq: sequence, first_seq: lowest, messages } = info.state;
  const found = messages === 0 ? undefined : await findAtOrBefore(jsm, stream, { sequence, lowest });
  const start = found?.header.last ?? (await findEnd(jsm, stream, { sequence, lowest })) ?? beginningOf(info);
  return { sequence: sequence + 1, start };
}

/** Where a log stands that has never held a change; undefined where retention has taken what it held. */
const beginningOf = (info: StreamInfo): Position | undefined =>
  info.state.first_seq <= 1 ? { epoch: factsOf(info).epoch, commitLsn: zeroLsn, index: 0 } : undefined;

/** Before every log: what follows is new, behind a hole. */
const beforeAll: Position = { epoch: 0, commitLsn: zeroLsn, index: 0 };

/** The first batch that ends after `position`, by bisection: positions grow with the sequence. */
async function findAfter(jsm: JetStreamManager, stream: string, position: Position): Promise<Place> {
  const info = await jsm.streams.info(stream);
  const { state } = info;
  // Another log, made by a clock that was behind: by their numbers none of its changes would ever follow.
  if (factsOf(info).epoch < position.epoch) return { sequence: Math.max(1, state.first_seq), start: beforeAll };
  let low = Math.max(1, state.first_seq); // a stream that never had a message begins at 0
  let high = state.last_seq + 1;
  let header: BatchHeader | undefined;
  while (low < high) {
    const middle = low + Math.floor((high - low) / 2);
    const found = await findAtOrBefore(jsm, stream, { sequence: middle, lowest: low });
    if (found !== undefined && comparePositions(found.header.last, position) > 0) {
      high = Math.max(low, Math.min(found.sequence, middle));
      ({ header } = found);
    } else low = middle + 1;
  }
  // The last message may be a mark, which is all that is left of what came after the position.
  const isBeyond = low > state.last_seq && state.messages > 0;
  return { sequence: isBeyond ? state.last_seq : low, start: position, header };
}

/**
 * One ordered consumer, made again after every disconnect, from the message after the last one read. Order and repeats are
 * judged by position alone; where a batch does not name the last change read as its predecessor, the log is searched again
 * by position before a gap is told.
 */
class NatsReading implements Reading {
  readonly start: Position | undefined;
  readonly #options: NatsReadingOptions;
  readonly #jsm: JetStreamManager;
  readonly #stream: string;
  #sequence: number;
  /** The sequence was found in the stream as it is now. */
  #isPlaced = true;
  #last: Position | undefined;
  /** Behind a hole: the batch that a search by position found as the next one. */
  #behindHole: BatchHeader | undefined;

  constructor(options: NatsReadingOptions, jsm: JetStreamManager, place: Place) {
    this.start = place.start;
    this.#last = place.start;
    this.#sequence = place.sequence;
    this.#options = options;
    this.#jsm = jsm;
    this.#stream = streamName(options.source);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<LogEntry> {
    const { signal, onTrouble, backoff } = this.#options;
    for (let failures = 0; !signal.aborted;) {
      try {
        for await (const entry of this.#consume(() => (failures = 0))) yield entry;
      } catch (error) {
        if (signal.aborted) return;
        failures++;
        onTrouble?.(new ChangeLogUnavailableError(`reading stream ${this.#stream} was interrupted`, { cause: error }));
        await backoff(failures, signal);
      }
    }
  }

  /** Reads until the connection is lost, a hole asks for a new place, or the signal fires. */
  async *#consume(onProgress: () => void): AsyncGenerator<LogEntry> {
    const { nc, signal, onTrouble } = this.#options;
    await this.#findPlace();
    const consumer = await this.#jsm.jetstream().consumers.get(this.#stream, {
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: this.#sequence,
    });
    const messages = await consumer.consume({
      max_messages: prefetchMessages,
      idle_heartbeat: 5_000,
      expires: 30_000,
    });
    const stop = (): void => messages.stop();
    this.#isPlaced = false;
    signal.addEventListener("abort", stop, { once: true });
    const unwatch = watchConsumer(nc, messages, stop);
    try {
      onTrouble?.(undefined);
      let isTroubled = false;
      const joiner = new PartJoiner();
      for await (const message of messages) {
        onProgress();
        const entries = await this.#take(message, joiner).catch((error: unknown) => {
          // A stranger's message is passed over: were it a batch of ours, the next one would name it as its predecessor.
          if (!(error instanceof BatchFormatError)) throw error;
          onTrouble?.(error);
          isTroubled = true;
          this.#sequence = message.seq + 1;
          return [];
        });
        if (entries === "search") return;
        if (isTroubled && entries.length > 0) {
          onTrouble?.(undefined);
          isTroubled = false;
        }
        yield* entries;
      }
    } finally {
      signal.removeEventListener("abort", stop);
      unwatch();
      await messages.close().catch(() => undefined); // the consumer may be gone with its server
    }
  }

  async #take(message: JsMsg, joiner: PartJoiner): Promise<LogEntry[] | "search"> {
    const whole = joiner.add(message.data, partOf(message.headers));
    if (whole === undefined) {
      this.#sequence = message.seq + 1;
      return [];
    }
    const batch = decodeBatch(whole, traceOf(message));
    const { header } = batch;
    const after = this.#last;
    const continuity = continuityOf(after, header);
    if (after !== undefined && isBelief(header) && comparePositions(header.last, after) > 0) {
      if (await this.#isAllThatIsLeft(message.seq)) {
        this.#sequence = message.seq + 1;
        this.#last = header.last;
        return [{ tag: "gap", after, end: header.last }];
      }
    }
    // Only of the very batch that was found: the log may have been cut and written on since.
    const isConfirmed = this.#behindHole !== undefined && comparePositions(this.#behindHole.first, header.first) === 0;
    if (continuity === "hole" && after !== undefined && !isConfirmed) {
      const place = await findAfter(this.#jsm, this.#stream, after);
      this.#sequence = place.sequence;
      this.#isPlaced = true;
      const isHole = place.header !== undefined && continuityOf(after, place.header) === "hole";
      this.#behindHole = isHole ? place.header : undefined;
      return "search";
    }
    this.#sequence = message.seq + 1;
    if (continuity === "repeat") return [];
    this.#behindHole = undefined;
    this.#last = header.last;
    const entry: LogEntry = { tag: "batch", batch, after };
    return continuity === "hole" && after !== undefined
      ? [{ tag: "gap", after, end: placeBefore(header) }, entry]
      : [entry];
  }

  /** Retention has taken all changes up to this message: what a mark says is then all that is known. */
  async #isAllThatIsLeft(sequence: number): Promise<boolean> {
    const { state } = await this.#jsm.streams.info(this.#stream);
    const found = await findAtOrBefore(this.#jsm, this.#stream, { sequence, lowest: Math.max(1, state.first_seq) });
    return found === undefined;
  }

  /** A stream that lost its tail, or was made anew, may hold other messages at the same sequences: start over by position. */
  async #findPlace(): Promise<void> {
    if (this.#isPlaced) return;
    if (this.#last !== undefined) {
      const { sequence, start } = await findAfter(this.#jsm, this.#stream, this.#last);
      this.#sequence = sequence;
      this.#last = start;
    } else {
      const { state } = await this.#jsm.streams.info(this.#stream);
      if (this.#sequence > state.last_seq + 1) this.#sequence = 1;
    }
  }
}

/** What the library tells when the consumer on the server is gone, or was. It would go on by sequence; we go on by position. */
const lossSigns: ReadonlySet<ConsumerNotification["type"]> = new Set([
  "consumer_deleted",
  "consumer_not_found",
  "stream_not_found",
  "heartbeats_missed",
  "ordered_consumer_recreated",
] as const);

/** Calls back when the connection was lost and is there again, or when the consumer may be gone. Returns how to stop it. */
function watchConsumer(nc: NatsConnection, messages: ConsumerMessages, callback: () => void): () => void {
  // The end of a loop over it would be noticed at the next status only, and each reading would leave one behind.
  const statuses = nc.status() as QueuedIterator<Status>;
  void (async () => {
    for await (const status of statuses) if (status.type === "reconnect") callback();
  })();
  void (async () => {
    for await (const notification of messages.status()) if (lossSigns.has(notification.type)) callback();
  })();
  return () => statuses.stop();
}
