export { formatLsn, maxLsn, parseLsn, toLsn, zeroLsn, type Lsn } from "./lsn.ts";
export { isAtOrAfter, isVisibleIn, parseMvccSnapshot, type MvccSnapshot } from "./mvcc-snapshot.ts";
export {
  beforeChange,
  beforeTransaction,
  comparePositions,
  formatPosition,
  parsePosition,
  type Position,
} from "./position.ts";
export type { Column, Relation, ReplicaIdentity } from "./relation.ts";
export { unreachable } from "./unreachable.ts";
