import { formatLsn, parseLsn, toLsn, type Lsn } from "./lsn.ts";

/**
 * Where a change stands in the order of all changes: the epoch (raised when continuity is broken), the LSN of the commit
 * record, and the index of the change inside its transaction. It is the resume token clients get.
 */
export interface Position {
  readonly epoch: number;
  readonly commitLsn: Lsn;
  readonly index: number;
}

/** Negative when `a` comes before `b`, 0 when they are the same place. */
export function comparePositions(a: Position, b: Position): number {
  if (a.epoch !== b.epoch) return a.epoch - b.epoch;
  if (a.commitLsn !== b.commitLsn) return a.commitLsn < b.commitLsn ? -1 : 1;
  return a.index - b.index;
}

/** The place right before the first change of a transaction. Commit records begin at multiples of eight. */
export const beforeTransaction = ({ epoch, commitLsn }: Pick<Position, "epoch" | "commitLsn">): Position => ({
  epoch,
  commitLsn: toLsn(commitLsn - 1n),
  index: 0,
});

/** The place right before a change. */
export const beforeChange = (position: Position): Position =>
  position.index === 0 ? beforeTransaction(position) : { ...position, index: position.index - 1 };

/** `1.0/16B3748.3`: epoch, commit LSN, index. */
export const formatPosition = (position: Position): string =>
  `${position.epoch}.${formatLsn(position.commitLsn)}.${position.index}`;

/** Reads `1.0/16B3748.3`; `undefined` when the text is not a position. */
export function parsePosition(text: string): Position | undefined {
  const parts = text.split(".");
  const [epoch, lsnText, index] = parts;
  if (parts.length !== 3 || epoch === undefined || lsnText === undefined || index === undefined) return undefined;
  const commitLsn = parseLsn(lsnText);
  if (commitLsn === undefined || !/^\d{1,10}$/.test(epoch) || !/^\d{1,15}$/.test(index)) return undefined;
  return { epoch: Number(epoch), commitLsn, index: Number(index) };
}
