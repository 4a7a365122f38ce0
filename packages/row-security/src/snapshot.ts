/**
 * Whether a snapshot, as `pg_current_snapshot` writes it (xmin:xmax:xip_list, 64 bits each), sees what these transactions
 * did. The log has the lower 32 bits of their numbers, which wrap around: less than 2^31 apart is before or after.
 */
export function seesAll(snapshot: string, xids: ReadonlySet<number>): boolean {
  if (xids.size === 0) return true;
  const [, xmax = "", inProgress = ""] = snapshot.split(":");
  const next = lower(xmax);
  const running = new Set(inProgress === "" ? [] : inProgress.split(",").map(lower));
  for (const xid of xids) if (running.has(xid) || (xid - next) >>> 0 < 2 ** 31) return false;
  return true;
}

const lower = (xid: string): number => Number(BigInt.asUintN(32, BigInt(xid)));
