import { messageRelation, transactionLine, type Batch } from "@walcast/change-log";
import { comparePositions, formatLsn, unreachable, type Lsn, type Position, type Relation } from "@walcast/model";
import {
  decodeMessage,
  JsonBuffer,
  ProtocolError,
  relationOidOf,
  RowTranscoder,
  toBytes,
  type BeginMessage,
  type LogicalMessage,
  type TypeCatalog,
} from "@walcast/pgoutput";

/** Between PostgreSQL's epoch (2000-01-01) and Unix's, in microseconds. */
const postgresEpochMicros = 946_684_800_000_000n;

const tab = 0x09;
const newline = 0x0a;
const tags = { begin: 0x42, commit: 0x43, insert: 0x49, update: 0x55, delete: 0x44, truncate: 0x54, message: 0x4d };
type RowTag = "I" | "U" | "D";

interface Transaction {
  readonly commitLsn: Lsn;
  readonly commitLsnText: string;
  readonly committedAtMicros: bigint;
  readonly xid: number;
}

interface PublishedRelation {
  readonly relation: Relation;
  readonly rows: RowTranscoder;
}

export interface BatchBuilderOptions {
  readonly types: TypeCatalog;
  readonly epoch: number;
  /** Changes up to here are in the log already and are passed over. */
  readonly skipUpTo: Position | undefined;
  /** A batch that has reached this size is complete. */
  readonly batchBytesLimit: number;
  /** A relation as it appears in the log, from its message. */
  readonly describe: (message: Uint8Array) => Relation;
}

/** A batch with its number: 1, 2, 3 … in the order of the log. */
export interface NumberedBatch extends Batch {
  readonly number: number;
  /** How many changes it holds. */
  readonly changes: number;
}

/**
 * pgoutput messages in, batches out: knows the transaction it is in, the relations it has seen, and the one batch that is
 * open. A batch holds consecutive changes of one relation, of one transaction or several.
 */
export class BatchBuilder {
  readonly #options: BatchBuilderOptions;
  readonly #relations = new Map<number, PublishedRelation>();
  readonly #lines = new JsonBuffer();
  #transaction: Transaction | undefined;
  /** Index of the next change in its transaction. */
  #index = 0;
  #number = 0;
  #relation: Relation | undefined;
  #first: Position | undefined;
  #last: Position | undefined;
  /** The transaction whose line was written last in the open batch. */
  #written: Transaction | undefined;
  #skipUpTo: Position | undefined;
  #changes = 0;

  constructor(options: BatchBuilderOptions) {
    this.#options = options;
    this.#skipUpTo = options.skipUpTo;
  }

  get isInTransaction(): boolean {
    return this.#transaction !== undefined;
  }

  /** Number of the last batch that holds changes: the open one, or the last complete one. */
  get lastBatch(): number {
    return this.#first === undefined ? this.#number : this.#number + 1;
  }

  /** Takes one message in; returns the batches it completed. Throws ProtocolError. */
  add(message: Uint8Array): readonly NumberedBatch[] {
    switch (message[0]) {
      case tags.insert:
        return this.#row("I", message);
      case tags.update:
        return this.#row("U", message);
      case tags.delete:
        return this.#row("D", message);
      default:
        return this.#control(message);
    }
  }

  /** Completes the open batch, if there is one. */
  flush(): NumberedBatch | undefined {
    const [relation, first, last] = [this.#relation, this.#first, this.#last];
    if (relation === undefined || first === undefined || last === undefined) return undefined;
    const batch = {
      number: ++this.#number,
      relation,
      first,
      last,
      lines: this.#lines.toBytes(),
      changes: this.#changes,
    };
    this.#lines.clear();
    this.#changes = 0;
    this.#relation = this.#first = this.#last = this.#written = undefined;
    return batch;
  }

  #control(bytes: Uint8Array): readonly NumberedBatch[] {
    const message = decodeMessage(bytes);
    switch (message.tag) {
      case "begin":
        this.#begin(message);
        return none;
      case "commit":
        this.#transaction = undefined;
        return none;
      case "relation": {
        const relation = this.#options.describe(bytes);
        this.#relations.set(message.oid, { relation, rows: new RowTranscoder(relation, this.#options.types) });
        return none;
      }
      case "truncate":
        return message.relationOids.flatMap((oid) => {
          const { relation } = this.#published(oid, bytes);
          return this.#change(relation, () => this.#lines.byte(tags.truncate));
        });
      case "message":
        return this.#message(message);
      case "type":
      case "origin":
        return none;
      case "insert":
      case "update":
      case "delete":
        throw new ProtocolError(String.fromCharCode(bytes[0] ?? 0), 0, "row message outside of the row path");
      default:
        return unreachable(message);
    }
  }

  /** A message outside of a transaction is one by itself: it stands at its own LSN, between commits, and has no time. */
  #message(message: LogicalMessage): readonly NumberedBatch[] {
    const { transactional, lsn, prefix, content } = message;
    const text = JSON.stringify({ prefix, transactional, content: Buffer.from(content).toString("base64") });
    const bytes = toBytes(text);
    const outer = { transaction: this.#transaction, index: this.#index };
    if (!transactional) {
      this.#transaction = { commitLsn: lsn, commitLsnText: formatLsn(lsn), committedAtMicros: 0n, xid: 0 };
      this.#index = 0;
    }
    const completed = this.#change(messageRelation, () => {
      this.#lines.byte(tags.message);
      this.#lines.byte(tab);
      this.#lines.raw(bytes, 0, bytes.length);
    });
    if (!transactional) [this.#transaction, this.#index] = [outer.transaction, outer.index];
    return completed;
  }

  #begin(message: BeginMessage): void {
    this.#transaction = {
      commitLsn: message.commitLsn,
      commitLsnText: formatLsn(message.commitLsn),
      committedAtMicros: message.committedAtMicros + postgresEpochMicros,
      xid: message.xid,
    };
    this.#index = 0;
  }

  #row(tag: RowTag, message: Uint8Array): readonly NumberedBatch[] {
    const { relation, rows } = this.#published(relationOidOf(message), message);
    return this.#change(relation, () => {
      this.#lines.byte(message[0] ?? 0);
      this.#lines.byte(tab);
      if (tag === "I") rows.insert(message, this.#lines);
      else if (tag === "U") rows.update(message, this.#lines);
      else rows.delete(message, this.#lines);
    });
  }

  #change(relation: Relation, write: () => void): readonly NumberedBatch[] {
    const transaction = this.#transaction;
    if (transaction === undefined) throw new ProtocolError("?", 0, "a change outside of a transaction");
    const position = { epoch: this.#options.epoch, commitLsn: transaction.commitLsn, index: this.#index++ };
    if (this.#skipUpTo !== undefined) {
      if (comparePositions(position, this.#skipUpTo) <= 0) return none;
      this.#skipUpTo = undefined;
    }
    const former = this.#relation === relation ? undefined : this.flush();
    this.#relation = relation;
    this.#first ??= position;
    this.#last = position;
    if (this.#written !== transaction) {
      this.#written = transaction;
      this.#lines.ascii(transactionLine({ ...transaction, index: position.index }));
    }
    write();
    this.#lines.byte(newline);
    this.#changes++;
    const full = this.#lines.length >= this.#options.batchBytesLimit ? this.flush() : undefined;
    if (former === undefined && full === undefined) return none;
    return [former, full].filter((batch) => batch !== undefined);
  }

  #published(oid: number, message: Uint8Array): PublishedRelation {
    const known = this.#relations.get(oid);
    if (known !== undefined) return known;
    throw new ProtocolError(String.fromCharCode(message[0] ?? 0), 1, `relation ${oid} was not described before`);
  }
}

const none: readonly NumberedBatch[] = [];
