import { comparePositions, zeroLsn, type Position } from "@walcast/model";
import {
  decodeBatch,
  encodeBatch,
  epochBeginning,
  markBatch,
  placeBefore,
  type Batch,
  type LoggedBatch,
} from "./batch.ts";
import { continuityOf } from "./continuity.ts";
import { AppendRefusedError } from "./errors.ts";
import type { ChangeLog, ChangeLogWriter, LogEntry, Reading, ReadOptions } from "./ports.ts";

export interface MemoryChangeLogOptions {
  /** History kept for readers, in bytes; the oldest batches fall off. */
  readonly retentionBytes?: number;
  readonly batchBytesLimit?: number;
  /** 1 by default. */
  readonly firstEpoch?: number;
}

interface StoredBatch {
  readonly sequence: number;
  readonly bytes: number;
  readonly batch: LoggedBatch;
}

/** The change log inside one process, for standalone and tests: no history survives it. */
export class MemoryChangeLog implements ChangeLog {
  readonly #retentionBytes: number;
  readonly #batchBytesLimit: number;
  readonly #readers = new Set<MemoryReading>();
  #stored: StoredBatch[] = [];
  #storedBytes = 0;
  #sequence = 0;
  #last: Position | undefined;
  #epoch: number;
  #origin: string | undefined;
  #writer: object | undefined;

  constructor(options: MemoryChangeLogOptions = {}) {
    this.#retentionBytes = options.retentionBytes ?? 64 * 1024 * 1024;
    this.#batchBytesLimit = options.batchBytesLimit ?? 256 * 1024;
    this.#epoch = options.firstEpoch ?? 1;
  }

  openWriter(): Promise<ChangeLogWriter> {
    const writer = {};
    this.#writer = writer;
    // One writer: opening a new one fences the former, as the expected sequence does on a server.
    const whileCurrent = async (act: () => Promise<void> | void): Promise<void> => {
      if (this.#writer !== writer) throw new AppendRefusedError("in memory");
      await act();
    };
    const log = { epoch: () => this.#epoch, origin: () => this.#origin, last: () => last };
    let last = this.#last;
    return Promise.resolve({
      get epoch() {
        return log.epoch();
      },
      get origin() {
        return log.origin();
      },
      get last() {
        return log.last();
      },
      syncIntervalMs: 0,
      batchBytesLimit: this.#batchBytesLimit,
      append: (batch) => whileCurrent(() => this.#append(batch)),
      recordOrigin: (origin) => whileCurrent(() => void (this.#origin = origin)),
      raiseEpoch: ({ origin, startLsn }) =>
        whileCurrent(async () => {
          this.#epoch++;
          this.#origin = origin;
          this.#last = last = undefined;
          await this.#append(markBatch(epochBeginning(this.#epoch, startLsn)));
        }),
      verify: () => Promise.resolve(),
      close: () => Promise.resolve(),
    } satisfies ChangeLogWriter);
  }

  read({ from, signal }: ReadOptions): Promise<Reading> {
    const beginning = { epoch: this.#epoch, commitLsn: zeroLsn, index: 0 };
    const start = from === "now" ? (this.#last ?? beginning) : from.after;
    const sequence = from === "now" ? this.#sequence : this.#sequenceAfter(from.after);
    const reading = new MemoryReading({
      start,
      sequence,
      signal,
      after: (last) => this.#after(last),
      onEnd: () => this.#readers.delete(reading),
    });
    if (!signal.aborted) this.#readers.add(reading);
    return Promise.resolve(reading);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  async #append(batch: Batch): Promise<void> {
    const bytes = encodeBatch(batch, this.#last);
    this.#last = batch.last;
    const { traceparent } = batch;
    const trace = traceparent === undefined ? undefined : { traceparent, storedAtMs: Date.now() };
    this.#stored.push({ sequence: ++this.#sequence, bytes: bytes.length, batch: decodeBatch(bytes, trace) });
    this.#storedBytes += bytes.length;
    for (const reader of this.#readers) reader.wake();
    // Readers hold the writer back rather than lose their place: half of the history is the most they may lag.
    while (this.#storedBytes > this.#retentionBytes / 2 && this.#unreadBytes() > this.#retentionBytes / 2) {
      await Promise.race([...this.#readers].map((reader) => reader.progress()));
    }
    this.#dropOldest();
  }

  #unreadBytes(): number {
    let slowest = this.#sequence;
    for (const reader of this.#readers) slowest = Math.min(slowest, reader.sequence);
    return this.#stored.reduce((sum, stored) => (stored.sequence > slowest ? sum + stored.bytes : sum), 0);
  }

  #dropOldest(): void {
    let drop = 0;
    while (this.#storedBytes > this.#retentionBytes && drop < this.#stored.length - 1) {
      this.#storedBytes -= this.#stored[drop++]?.bytes ?? 0;
    }
    if (drop > 0) this.#stored = this.#stored.slice(drop);
  }

  #sequenceAfter(position: Position): number {
    const next = this.#stored.find(({ batch }) => comparePositions(batch.header.last, position) > 0);
    return (next?.sequence ?? this.#sequence + 1) - 1;
  }

  #after(sequence: number): StoredBatch | undefined {
    const oldest = this.#stored[0];
    if (oldest === undefined) return undefined;
    return this.#stored[Math.max(0, sequence + 1 - oldest.sequence)];
  }
}

class MemoryReading implements Reading {
  readonly start: Position | undefined;
  sequence: number;
  readonly #after: (sequence: number) => StoredBatch | undefined;
  readonly #signal: AbortSignal;
  readonly #onEnd: () => void;
  #appended = Promise.withResolvers<void>();
  #progress = Promise.withResolvers<void>();

  constructor(options: {
    start: Position | undefined;
    sequence: number;
    signal: AbortSignal;
    after: (sequence: number) => StoredBatch | undefined;
    onEnd: () => void;
  }) {
    this.start = options.start;
    this.sequence = options.sequence;
    this.#after = options.after;
    this.#signal = options.signal;
    this.#onEnd = options.onEnd;
    options.signal.addEventListener("abort", () => this.#end(), { once: true });
  }

  wake(): void {
    this.#appended.resolve();
  }

  /** Resolves when the next batch has been taken, or the reading has ended. */
  progress(): Promise<void> {
    return this.#progress.promise;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<LogEntry> {
    try {
      yield* this.#entries();
    } finally {
      this.#end();
    }
  }

  async *#entries(): AsyncGenerator<LogEntry> {
    let last = this.start;
    while (!this.#signal.aborted) {
      const stored = this.#after(this.sequence);
      if (stored === undefined) {
        await this.#appended.promise;
        this.#appended = Promise.withResolvers();
        continue;
      }
      const { header } = stored.batch;
      const continuity = continuityOf(last, header);
      if (continuity === "hole" && last !== undefined) yield { tag: "gap", after: last, end: placeBefore(header) };
      if (continuity !== "repeat") {
        yield { tag: "batch", batch: stored.batch, after: last };
        last = header.last;
      }
      this.sequence = stored.sequence;
      this.#progress.resolve();
      this.#progress = Promise.withResolvers();
    }
  }

  /** The signal fired, or whoever read has left: the writer must not wait for it. */
  #end(): void {
    this.#onEnd();
    this.wake();
    this.#progress.resolve();
  }
}
