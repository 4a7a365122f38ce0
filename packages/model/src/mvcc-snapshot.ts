/**
 * Which transactions a query sees (manual, "pg_snapshot"). Numbers are the lower 32 bits, as the log has them: they wrap
 * around, and less than 2^31 apart is before or after.
 */
export interface MvccSnapshot {
  /** This one and all after it had not ended. */
  readonly xmax: number;
  /** Those before it that had not ended either: transactions themselves, never their savepoints. */
  readonly inProgress: ReadonlySet<number>;
}

const lower = (xid: string): number => Number(BigInt.asUintN(32, BigInt(xid)));

/** Reads what `pg_current_snapshot` writes: `xmin:xmax:xip,…`, 64 bits each; `undefined` for anything else. */
export function parseMvccSnapshot(text: string): MvccSnapshot | undefined {
  const match = /^\d+:(\d+):((?:\d+(?:,\d+)*)?)$/.exec(text);
  if (match === null) return undefined;
  const [, xmax = "0", list = ""] = match;
  return { xmax: lower(xmax), inProgress: new Set(list === "" ? [] : list.split(",").map(lower)) };
}

/**
 * Whether the snapshot sees what the transaction did, if it committed. The place of its commit in the WAL does not tell: a
 * transaction is in the WAL before it is visible, by moments, or by as long as a synchronous standby takes.
 */
export const isVisibleIn = ({ xmax, inProgress }: MvccSnapshot, xid: number): boolean =>
  !inProgress.has(xid) && !isAtOrAfter(xid, xmax);

/** Whether a transaction's number was given out at the same time as another's, or later. */
export const isAtOrAfter = (xid: number, other: number): boolean => (xid - other) >>> 0 < 2 ** 31;
