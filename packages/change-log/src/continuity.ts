import { comparePositions, zeroLsn, type Position } from "@walcast/model";
import { isBelief, type BatchHeader } from "./batch.ts";

/** How a batch stands to the last change that was read: it follows, was read already, or something is missing between. */
export type Continuity = "follows" | "repeat" | "hole";

/**
 * Holes are seen because each batch names its predecessor. Sequence numbers of the stream play no part: they may repeat
 * after a crash.
 */
export function continuityOf(last: Position | undefined, header: BatchHeader): Continuity {
  if (isBelief(header)) return "repeat";
  if (last === undefined) return "follows";
  if (comparePositions(header.last, last) <= 0) return "repeat";
  // It overlaps with what was read, and a batch has no hole inside.
  if (comparePositions(header.first, last) <= 0) return "follows";
  if (header.previous === undefined) {
    const isNothing = last.commitLsn === zeroLsn && last.index === 0; // a place, too: that of an empty log
    return isNothing && last.epoch === header.first.epoch ? "follows" : "hole";
  }
  return comparePositions(header.previous, last) <= 0 ? "follows" : "hole";
}
