import type { Lsn, Position } from "@walcast/model";
import type { Batch, LoggedBatch } from "./batch.ts";

/** What a reader gets: a batch, or word that changes are missing from the log for good. */
export type LogEntry =
  | {
      readonly tag: "batch";
      readonly batch: LoggedBatch;
      /** The last change delivered before; a batch rebuilt after a crash of the log may begin before it: `changes(after)`. */
      readonly after: Position | undefined;
    }
  | {
      readonly tag: "gap";
      /** The last change that was read. */
      readonly after: Position;
      /** Right before the first change after the hole: who goes on after this place misses nothing more. */
      readonly end: Position;
    };

/** The log as its one writer sees it. A writer that has failed stays failed: open another. */
export interface ChangeLogWriter {
  /** The epoch new positions belong to. */
  readonly epoch: number;
  /** The last change in the log as it was when opened; undefined when it is empty, and after `raiseEpoch`. */
  readonly last: Position | undefined;
  /** What `recordOrigin` or `raiseEpoch` said last; undefined in a log that is new. */
  readonly origin: string | undefined;
  /** How long an acknowledged batch may still be lost in a crash of the log, in milliseconds. */
  readonly syncIntervalMs: number;
  /** The largest number of bytes a batch should have. */
  readonly batchBytesLimit: number;
  /**
   * Resolves when the log has stored the batch. Calls may overlap; batches are stored in the order of the calls.
   * Rejects with AppendRefusedError or ChangeLogUnavailableError, and then so does every later call.
   */
  append(batch: Batch): Promise<void>;
  /** Remembers where changes are read from: the server and its timeline. */
  recordOrigin(origin: string): Promise<void>;
  /**
   * Continuity is broken: from here on positions belong to a higher epoch, which begins before `startLsn`. Readers are
   * told at once, by an entry of its own. Without an origin it is not known yet where changes will be read from.
   */
  raiseEpoch(beginning: { readonly origin: string | undefined; readonly startLsn: Lsn }): Promise<void>;
  /**
   * Asks the log whether it still holds the newest batch that it acknowledged: it may have lost it in a crash, and no append
   * fails while there is nothing to append. Rejects as `append` does.
   */
  verify(): Promise<void>;
  close(): Promise<void>;
}

/** One reading of the log, in order, without repeats. */
export interface Reading extends AsyncIterable<LogEntry> {
  /** Everything after this is delivered; undefined when the log has forgotten all that it held. */
  readonly start: Position | undefined;
}

export interface ReadOptions {
  /** The end of the log at this moment, or everything after a position. */
  readonly from: "now" | { readonly after: Position };
  /** Ends the reading. */
  readonly signal: AbortSignal;
  /** Told when reading is in trouble and when it goes on (undefined). Reading never gives up by itself. */
  readonly onTrouble?: (trouble: Error | undefined) => void;
}

/** The change log: `memory` and `nats` are alike to everybody who uses it, and pass one conformance suite. */
export interface ChangeLog {
  openWriter(): Promise<ChangeLogWriter>;
  /** Resolves when the place is pinned: from then on nothing that is appended is missed. */
  read(options: ReadOptions): Promise<Reading>;
  close(): Promise<void>;
}
