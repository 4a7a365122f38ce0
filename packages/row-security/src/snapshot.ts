import { isVisibleIn, parseMvccSnapshot } from "@walcast/model";

/** Whether a snapshot, as `pg_current_snapshot` writes it, sees what all of these transactions of the log did. */
export function seesAll(text: string, xids: ReadonlySet<number>): boolean {
  const snapshot = parseMvccSnapshot(text);
  return snapshot !== undefined && [...xids].every((xid) => isVisibleIn(snapshot, xid));
}
