import type { LoggedBatch, LoggedTransaction } from "@walcast/change-log";
import { beforeTransaction, isAtOrAfter, isVisibleIn, type Position } from "@walcast/model";
import type { SnapshotPlace } from "@walcast/snapshot";

// Which changes follow a snapshot: exactly those of the transactions that it does not see, and no place in the log divides
// them from the others. A transaction is in the WAL, and may have reached the log, before anybody sees it.
//
//   seen by the snapshot            ──┬──x─────x──┬────────────┬─────► the log
//                                     │  not seen │            │
//                                   start      noted before   every transaction that the snapshot sees
//                                                the snapshot  was committed before this
//
// The end on the right is known: the snapshot asks for the place in the WAL after it was taken. The start is looked for in
// the changes that the gateway has in memory.

/** Changes of the log in memory. */
export interface Known {
  readonly batches: Iterable<LoggedBatch>;
  /** Where the log stood before the snapshot was taken. */
  readonly noted: Position;
}

export interface SnapshotStart {
  /** No transaction in memory up to here is one that the snapshot does not see. */
  readonly after: Position;
  /** Those that the snapshot does not see, and that memory holds. */
  readonly unseen: ReadonlySet<number>;
}

/** Where the changes begin that follow the snapshot. */
export function startOf({ sees }: Pick<SnapshotPlace, "sees">, { batches, noted }: Known): SnapshotStart {
  let after: Position | undefined;
  const unseen = new Set<number>();
  for (const batch of batches) {
    for (const { xid, commitLsn } of transactionsOf(batch)) {
      if (xid === 0 || isVisibleIn(sees, xid)) continue; // 0: a message outside of transactions
      unseen.add(xid);
      after ??= earlier(noted, beforeTransaction({ epoch: batch.header.first.epoch, commitLsn }));
    }
  }
  return { after: after ?? noted, unseen };
}

/**
 * Whether a transaction may have been in the log before memory begins, without the snapshot seeing it. `horizon`: a number
 * that was given out to nobody yet when memory began, or later: from it on all are in memory.
 */
export function hasSuspects(
  { sees }: Pick<SnapshotPlace, "sees">,
  { horizon, unseen }: { readonly horizon: number; readonly unseen: ReadonlySet<number> },
): boolean {
  const isSuspect = (xid: number): boolean => !isAtOrAfter(xid, horizon) && !unseen.has(xid);
  if ([...sees.inProgress].some(isSuspect)) return true;
  if (isAtOrAfter(sees.xmax, horizon)) return false;
  const count = (horizon - sees.xmax) >>> 0;
  if (count > unseen.size) return true;
  return Array.from({ length: count }, (_, i) => (sees.xmax + i) >>> 0).some(isSuspect);
}

/** How one snapshot stands to memory. */
export interface Attempt {
  readonly sees: SnapshotPlace["sees"];
  readonly horizon: number;
  readonly unseen: ReadonlySet<number>;
  /** How far memory reaches back. */
  readonly spanMs: number;
}

/**
 * Snapshots are taken until it is clear where to go on: none has suspects, or those that it has are none. A commit that
 * nobody sees for longer than `patienceMs` was made by a process that stands still; so suspects that memory never held in
 * that time are not in the log.
 */
export class SuspectWatch {
  readonly #patienceMs: number;
  /** Since when memory was looked at without a break, and how far it reached back then. */
  #since: { readonly ms: number; readonly spanMs: number } | undefined;
  #lastMs = 0;
  /** Transactions that memory held while no snapshot saw them. */
  readonly #held = new Set<number>();

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  isClear({ sees, horizon, unseen, spanMs }: Attempt, nowMs: number): boolean {
    // What came into memory and left it between two looks was not seen.
    if (this.#since === undefined || nowMs - this.#lastMs > spanMs) this.#since = { ms: nowMs, spanMs };
    this.#lastMs = nowMs;
    for (const xid of unseen) this.#held.add(xid);
    if (spanMs >= this.#patienceMs || !hasSuspects({ sees }, { horizon, unseen })) return true;
    if (nowMs - this.#since.ms + this.#since.spanMs < this.#patienceMs) return false;
    return ![...this.#held].some((xid) => !unseen.has(xid) && !isVisibleIn(sees, xid));
  }
}

/** A batch is looked through once, however many snapshots are taken. */
const known = new WeakMap<LoggedBatch, readonly LoggedTransaction[]>();

export function transactionsOf(batch: LoggedBatch): readonly LoggedTransaction[] {
  const found = known.get(batch) ?? [...batch.transactions()];
  known.set(batch, found);
  return found;
}

const earlier = (a: Position, b: Position): Position =>
  a.epoch < b.epoch || (a.epoch === b.epoch && a.commitLsn < b.commitLsn) ? a : b;
