import { messageRelation, relationLine, transactionLine, type Batch } from "@walcast/change-log";
import { comparePositions, toLsn, unreachable, type Lsn, type Position, type Relation } from "@walcast/model";
import {
  decodeMessage,
  JsonBuffer,
  ProtocolError,
  relationOidOf,
  RowTranscoder,
  type LogicalMessage,
  type TypeCatalog,
} from "@walcast/pgoutput";

/** Between PostgreSQL's epoch (2000-01-01) and Unix's, in microseconds. */
const postgresEpochMicros = 946_684_800_000_000;

const tab = 0x09;
const newline = 0x0a;
const tags = { begin: 0x42, commit: 0x43, insert: 0x49, update: 0x55, delete: 0x44, truncate: 0x54, message: 0x4d };

/** As Begin describes it; its LSN in two halves, since single-row transactions are many and BigInts slow. */
interface Transaction {
  readonly lsnHigh: number;
  readonly lsnLow: number;
  readonly committedAtMicros: number;
  readonly xid: number;
}

const lsnOf = ({ lsnHigh, lsnLow }: Transaction): Lsn => toLsn((BigInt(lsnHigh) << 32n) | BigInt(lsnLow));
const lsnText = ({ lsnHigh, lsnLow }: Transaction): string =>
  `${lsnHigh.toString(16)}/${lsnLow.toString(16)}`.toUpperCase();
/** Tag, commit LSN, commit time, xid. */
const beginBytes = 21;

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
  /**
   * A batch of one relation that has reached this size ends when a change of another one comes, so that bulk loads stand
   * under their table's subject; a smaller one takes the other relation in. 16 KiB unless told.
   */
  readonly shortRunBytes?: number;
  /** A relation as it appears in the log, from its message. */
  readonly describe: (message: Uint8Array) => Relation;
}

/** A batch with its number: 1, 2, 3 … in the order of the log. */
export interface NumberedBatch extends Batch {
  readonly number: number;
  /** How many changes it holds. */
  readonly changes: number;
  /** Of its first change, in microseconds since 1970; 0 where there was none: a message outside of transactions. */
  readonly committedAtMicros: number;
}

/** Rows that alternate between tables would make a message of each, which costs 20 to 70 µs against the row's 3. */
const shortRunBytes = 16 * 1024;

/** What is being filled: everything that `flush` ends. */
interface OpenBatch {
  readonly first: Position;
  readonly committedAtMicros: number;
  readonly relation: Relation;
  /** Number of each relation in this batch, in the order of their first changes. */
  readonly numbers: Map<Relation, number>;
  /** The relation and the transaction that the next line belongs to. */
  current: Relation;
  transaction: Transaction | undefined;
}

/**
 * pgoutput messages in, batches out: knows the transaction it is in, the relations it has seen, and the one batch that is
 * open. A batch holds consecutive changes, of one transaction or several, of one relation or, while runs are short, several.
 */
export class BatchBuilder {
  readonly #options: BatchBuilderOptions;
  readonly #relations = new Map<number, PublishedRelation>();
  readonly #lines = new JsonBuffer();
  #transaction: Transaction | undefined;
  /** Index of the next change in its transaction. */
  #index = 0;
  #number = 0;
  #open: OpenBatch | undefined;
  /** Those of the change written last. */
  #lastTransaction: Transaction | undefined;
  #lastIndex = 0;
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
    return this.#open === undefined ? this.#number : this.#number + 1;
  }

  /** The newest change in any batch. */
  get lastChange(): Position | undefined {
    return this.#lastTransaction && this.#positionOf(this.#lastTransaction, this.#lastIndex);
  }

  /** Changes wait for others to fill their batch. */
  get hasOpenBatch(): boolean {
    return this.#open !== undefined;
  }

  /** Takes one message in; returns the batches it completed. Throws ProtocolError. */
  add(message: Uint8Array): readonly NumberedBatch[] {
    const tag = message[0];
    if (tag === tags.insert || tag === tags.update || tag === tags.delete) return this.#row(tag, message);
    if (tag === tags.commit) {
      this.#transaction = undefined;
      return none;
    }
    if (tag === tags.begin && message.length === beginBytes) {
      this.#begin(message);
      return none;
    }
    return this.#control(message);
  }

  /** Completes the open batch, if there is one. */
  flush(): NumberedBatch | undefined {
    const open = this.#open;
    if (open?.transaction === undefined) return undefined;
    const batch = {
      number: ++this.#number,
      relation: open.relation,
      isMixed: open.numbers.size > 1,
      first: open.first,
      last: this.#positionOf(open.transaction, this.#lastIndex),
      lines: this.#lines.toBytes(),
      changes: this.#changes,
      committedAtMicros: open.committedAtMicros,
    };
    this.#lines.clear();
    this.#changes = 0;
    this.#open = undefined;
    return batch;
  }

  #control(bytes: Uint8Array): readonly NumberedBatch[] {
    const message = decodeMessage(bytes);
    switch (message.tag) {
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
      case "begin":
      case "commit":
      case "insert":
      case "update":
      case "delete":
        throw new ProtocolError(String.fromCharCode(bytes[0] ?? 0), 0, "not a control message");
      default:
        return unreachable(message);
    }
  }

  /**
   * A message outside of a transaction is one by itself, between commits, and has no time. Its LSN is where its record ends
   * (ReorderBufferQueueMessage), and a commit record may begin there: it stands right before.
   */
  #message(message: LogicalMessage): readonly NumberedBatch[] {
    const { transactional, lsn, prefix, content } = message;
    const text = JSON.stringify({ prefix, transactional, content: Buffer.from(content).toString("base64") });
    const outer = { transaction: this.#transaction, index: this.#index };
    if (!transactional) {
      const place = lsn - 1n;
      this.#transaction = {
        lsnHigh: Number(place >> 32n),
        lsnLow: Number(place & 0xffff_ffffn),
        committedAtMicros: 0,
        xid: 0,
      };
      this.#index = 0;
    }
    const completed = this.#change(messageRelation, () => {
      this.#lines.byte(tags.message);
      this.#lines.byte(tab);
      this.#lines.utf8(text);
    });
    if (!transactional) [this.#transaction, this.#index] = [outer.transaction, outer.index];
    return completed;
  }

  /** Begin by hand (PostgreSQL manual, "Logical Replication Message Formats"): with one row each it is a hot path, too. */
  #begin(message: Uint8Array): void {
    const { buffer, byteOffset } = message;
    const view = new DataView(buffer, byteOffset, beginBytes);
    this.#transaction = {
      lsnHigh: view.getUint32(1),
      lsnLow: view.getUint32(5),
      // Exact: microseconds of this age are far below 2^53.
      committedAtMicros: view.getInt32(9) * 2 ** 32 + view.getUint32(13) + postgresEpochMicros,
      xid: view.getUint32(17),
    };
    this.#index = 0;
  }

  /** The hot path: as `#change`, without a closure for each row. */
  #row(tag: number, message: Uint8Array): readonly NumberedBatch[] {
    const { relation, rows } = this.#published(relationOidOf(message), message);
    if (!this.#isNew()) return none;
    const former = this.#turnTo(relation);
    const lines = this.#lines;
    lines.byte(tag);
    lines.byte(tab);
    if (tag === tags.insert) rows.insert(message, lines);
    else if (tag === tags.update) rows.update(message, lines);
    else rows.delete(message, lines);
    return this.#endLine(former);
  }

  #change(relation: Relation, write: () => void): readonly NumberedBatch[] {
    if (!this.#isNew()) return none;
    const former = this.#turnTo(relation);
    write();
    return this.#endLine(former);
  }

  /** Counts the next change; false when the log holds it already. */
  #isNew(): boolean {
    const index = this.#index++;
    if (this.#skipUpTo === undefined) return true;
    if (comparePositions(this.#positionOf(this.#current, index), this.#skipUpTo) <= 0) return false;
    this.#skipUpTo = undefined;
    return true;
  }

  get #current(): Transaction {
    if (this.#transaction !== undefined) return this.#transaction;
    throw new ProtocolError("?", 0, "a change outside of a transaction");
  }

  #positionOf(transaction: Transaction, index: number): Position {
    return { epoch: this.#options.epoch, commitLsn: lsnOf(transaction), index };
  }

  /** Writes what must stand before a line of this relation; returns the batch that had to end for it. */
  #turnTo(relation: Relation): NumberedBatch | undefined {
    const transaction = this.#current;
    const index = this.#index - 1;
    let former: NumberedBatch | undefined;
    if (this.#open !== undefined && this.#open.current !== relation && this.#isLongRun(this.#open))
      former = this.flush();
    const open = (this.#open ??= {
      first: this.#positionOf(transaction, index),
      committedAtMicros: transaction.committedAtMicros,
      relation,
      numbers: new Map([[relation, 0]]),
      current: relation,
      transaction: undefined,
    });
    if (open.current !== relation) {
      const number = open.numbers.get(relation);
      this.#lines.utf8(relationLine(number ?? open.numbers.size, number === undefined ? relation : undefined));
      if (number === undefined) open.numbers.set(relation, open.numbers.size);
      open.current = relation;
    }
    if (open.transaction !== transaction) {
      open.transaction = transaction;
      const { committedAtMicros, xid } = transaction;
      this.#lines.ascii(transactionLine({ commitLsnText: lsnText(transaction), committedAtMicros, xid, index }));
    }
    this.#lastTransaction = transaction;
    this.#lastIndex = index;
    return former;
  }

  #isLongRun(open: OpenBatch): boolean {
    return open.numbers.size === 1 && this.#lines.length >= (this.#options.shortRunBytes ?? shortRunBytes);
  }

  #endLine(former: NumberedBatch | undefined): readonly NumberedBatch[] {
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
