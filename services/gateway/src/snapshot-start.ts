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

/** A batch is looked through once, however many snapshots are taken. */
const known = new WeakMap<LoggedBatch, readonly LoggedTransaction[]>();

export function transactionsOf(batch: LoggedBatch): readonly LoggedTransaction[] {
  const found = known.get(batch) ?? [...batch.transactions()];
  known.set(batch, found);
  return found;
}

const earlier = (a: Position, b: Position): Position =>
  a.epoch < b.epoch || (a.epoch === b.epoch && a.commitLsn < b.commitLsn) ? a : b;
