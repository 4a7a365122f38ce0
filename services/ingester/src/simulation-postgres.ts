import { formatLsn, toLsn, zeroLsn, type Lsn } from "@walcast/model";
import type { SimulationRandom } from "./simulation-random.ts";

// A model of what the manual says of logical decoding, small enough to be looked through ("Streaming Replication
// Protocol", START_REPLICATION SLOT … LOGICAL; "Replication Slots"): whole transactions in commit order, those again that
// were not confirmed, and never those that were.

interface CommittedTransaction {
  readonly commitLsn: Lsn;
  readonly endLsn: Lsn;
  /** pgoutput's messages from Begin to Commit. */
  readonly messages: readonly Uint8Array[];
  /** The id of its last row. */
  readonly lastId: number;
}

const tables = [
  { oid: 16_385, name: "a" },
  { oid: 16_386, name: "b" },
] as const;

/** One database with one slot. Rows are numbered 1, 2, 3 … in commit order, over all tables. */
export class SimulatedPostgres {
  readonly #wal: CommittedTransaction[] = [];
  /** What of `confirmedLsn` survives a crash: it is written with checkpoints. */
  #savedLsn = zeroLsn;
  #walsender: Walsender | undefined;
  confirmedLsn = zeroLsn;
  endLsn = toLsn(0x100_0000n);
  lastId = 0;

  commit(random: SimulationRandom): void {
    const rows = random.integer(1, 8);
    const commitLsn = this.#advance(random.integer(8, 400));
    const endLsn = this.#advance(48);
    const messages = [encodeBegin(commitLsn, this.#wal.length + 1)];
    let table = tables[random.integer(0, 1)] ?? tables[0];
    for (let i = 0; i < rows; i++) {
      if (random.chance(0.2)) table = table === tables[0] ? tables[1] : tables[0];
      messages.push(encodeInsert(table.oid, ++this.lastId));
    }
    messages.push(encodeCommit(commitLsn, endLsn));
    this.#wal.push({ commitLsn, endLsn, messages, lastId: this.lastId });
  }

  /** WAL without changes of ours, as another database writes it. */
  writeElsewhere(random: SimulationRandom): void {
    this.#advance(random.integer(8, 4000));
  }

  /** Ends whoever read before, as a standby does before it takes over. */
  startReplication(from: Lsn): Walsender {
    this.#walsender?.end();
    const start = from > this.confirmedLsn ? from : this.confirmedLsn;
    this.#walsender = new Walsender(this, start);
    return this.#walsender;
  }

  /** The first transaction at or behind `lsn` in the WAL from index `from` on. */
  nextTransaction(
    from: number,
    lsn: Lsn,
  ): { readonly index: number; readonly messages: readonly Uint8Array[] } | undefined {
    const index = this.#wal.findIndex((transaction, i) => i >= from && transaction.commitLsn >= lsn);
    const found = this.#wal[index];
    return found && { index, messages: found.messages };
  }

  /** The id of the last row that PostgreSQL has forgotten about. */
  get lastConfirmedId(): number {
    return this.#wal.findLast(({ endLsn }) => endLsn <= this.confirmedLsn)?.lastId ?? 0;
  }

  terminateWalsender(): void {
    this.#walsender?.end();
  }

  checkpoint(): void {
    this.#savedLsn = this.confirmedLsn;
  }

  /** Committed transactions stay, connections and unsaved progress of the slot do not. */
  crash(): void {
    this.#walsender?.end();
    this.confirmedLsn = this.#savedLsn;
  }

  #advance(bytes: number): Lsn {
    const before = this.endLsn;
    this.endLsn = toLsn(before + BigInt(bytes));
    return before;
  }
}

/** One START_REPLICATION. */
export class Walsender {
  readonly #postgres: SimulatedPostgres;
  readonly #from: Lsn;
  readonly #queue: Uint8Array[] = tables.map(({ oid, name }) => encodeRelation(oid, name));
  #next = 0;
  #isOpen = true;

  constructor(postgres: SimulatedPostgres, from: Lsn) {
    this.#postgres = postgres;
    this.#from = from;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Up to `count` messages; fewer when there are no more. */
  take(count: number): Uint8Array[] {
    while (this.#queue.length < count) {
      const found = this.#postgres.nextTransaction(this.#next, this.#from);
      if (found === undefined) break;
      this.#next = found.index + 1;
      this.#queue.push(...found.messages);
    }
    return this.#queue.splice(0, count);
  }

  /** How far the server is, once it has sent everything. */
  get keepaliveLsn(): Lsn | undefined {
    const isBehind = this.#queue.length > 0 || this.#postgres.nextTransaction(this.#next, this.#from) !== undefined;
    return isBehind ? undefined : this.#postgres.endLsn;
  }

  /** A status update. One that comes over a connection that was ended is heard by nobody. */
  confirm(lsn: Lsn): void {
    if (!this.#isOpen) return;
    if (lsn > this.#postgres.endLsn) throw new Error(`${formatLsn(lsn)} is beyond the end of WAL`);
    if (lsn > this.#postgres.confirmedLsn) this.#postgres.confirmedLsn = lsn;
  }

  end(): void {
    this.#isOpen = false;
  }
}

// A small encoder of pgoutput (manual, "Logical Replication Message Formats", version 1).

const int4 = 23;
const tag = (char: string): Buffer => Buffer.from(char, "latin1");
const text = (value: string): Buffer => Buffer.from(`${value}\0`, "utf8");

function int(value: number, bytes: 1 | 2 | 4): Buffer {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntBE(value, 0, bytes);
  return buffer;
}

function int64(value: bigint): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64BE(value);
  return buffer;
}

const encodeBegin = (commitLsn: Lsn, xid: number): Uint8Array =>
  Buffer.concat([tag("B"), int64(commitLsn), int64(0n), int(xid, 4)]);

const encodeCommit = (commitLsn: Lsn, endLsn: Lsn): Uint8Array =>
  Buffer.concat([tag("C"), int(0, 1), int64(commitLsn), int64(endLsn), int64(0n)]);

const encodeRelation = (oid: number, name: string): Uint8Array =>
  Buffer.concat([
    tag("R"),
    int(oid, 4),
    text("public"),
    text(name),
    tag("d"),
    int(1, 2),
    int(1, 1),
    text("id"),
    int(int4, 4),
    int(0xffff_ffff, 4),
  ]);

function encodeInsert(oid: number, id: number): Uint8Array {
  const value = Buffer.from(String(id));
  return Buffer.concat([tag("I"), int(oid, 4), tag("N"), int(1, 2), tag("t"), int(value.length, 4), value]);
}
