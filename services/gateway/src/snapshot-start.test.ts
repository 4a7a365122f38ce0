import { decodeBatch, encodeBatch, transactionLine, type LoggedBatch } from "@walcast/change-log";
import { formatLsn, toLsn, type MvccSnapshot, type Position } from "@walcast/model";
import { describe, expect, it } from "vitest";
import { hasSuspects, startOf, SuspectWatch } from "./snapshot-start.ts";

const at = (lsn: number, index = 0): Position => ({ epoch: 1, commitLsn: toLsn(BigInt(lsn)), index });
const relation = { oid: 1, schema: "public", table: "t", replicaIdentity: "d", columns: [] } as const;

/** Transactions of one insert each, whose record looks like what ends a line. */
function batchOf(...transactions: readonly (readonly [lsn: number, xid: number])[]): LoggedBatch {
  const lines = transactions.map(([lsn, xid]) => {
    const commitLsnText = formatLsn(toLsn(BigInt(lsn)));
    const begin = transactionLine({ commitLsnText, committedAtMicros: 1, xid, index: 0 });
    return `${begin}I\t{"note":"\\nC\\t0/1\\t"}\n`;
  });
  const [first, last] = [transactions[0]?.[0] ?? 0, transactions.at(-1)?.[0] ?? 0];
  const batch = { relation, first: at(first), last: at(last), lines: Buffer.from(lines.join("")) };
  return decodeBatch(encodeBatch(batch, undefined));
}
const sees = (xmax: number, ...inProgress: number[]): { sees: MvccSnapshot } => ({
  sees: { xmax, inProgress: new Set(inProgress) },
});

describe("where changes go on after a snapshot", () => {
  const batches = [batchOf([8, 100], [16, 103]), batchOf([24, 101], [32, 102])];
  it.each<[string, MvccSnapshot, number, Position]>([
    ["sees all of them: where the log stood", sees(104).sees, 32, at(32)],
    ["misses one that is in the log: before it", sees(104, 101).sees, 32, at(23)],
    ["misses those that began last: before the first of them", sees(102).sees, 32, at(15)],
    ["misses what came after the log was looked at only: where the log stood", sees(104, 102).sees, 24, at(24)],
  ])("when it %s", (_, snapshot, noted, after) => {
    expect(startOf({ sees: snapshot }, { batches, noted: at(noted) }).after).toEqual(after);
  });

  it("takes messages outside of transactions for none", () => {
    expect(startOf(sees(104), { batches: [batchOf([8, 0])], noted: at(8) })).toEqual({
      after: at(8),
      unseen: new Set(),
    });
  });
});

describe("a transaction that may have been in the log before memory begins", () => {
  it.each<[string, boolean, { sees: MvccSnapshot }, number, readonly number[]]>([
    ["none goes on", false, sees(100), 100, []],
    ["one goes on that is older", true, sees(100, 90), 100, []],
    ["one goes on that is older, and in memory", false, sees(100, 90), 100, [90]],
    ["one goes on that began later", false, sees(110, 105), 100, []],
    ["the newest of the older ones go on", true, sees(98), 100, [98]],
    ["all of them are in memory", false, sees(98), 100, [98, 99]],
    ["numbers wrap around", true, sees(5, 2 ** 32 - 3), 1, []],
    ["numbers wrap around, and it began later", false, sees(5, 3), 2 ** 32 - 1, []],
  ])("when %s: %s", (_, wanted, place, horizon, unseen) => {
    expect(hasSuspects(place, { horizon, unseen: new Set(unseen) })).toBe(wanted);
  });
});

describe("a snapshot that does not see a transaction", () => {
  const attempt = { ...sees(200, 150), horizon: 200, unseen: new Set<number>(), spanMs: 300 };

  it("is to be taken again until patience is over, counted with what memory held at first", () => {
    const watch = new SuspectWatch(1_000);
    expect([0, 300, 600, 699, 700].map((ms) => watch.isClear(attempt, ms))).toEqual([false, false, false, false, true]);
  });

  it("is not good as long as that transaction was in memory and is not any more", () => {
    const watch = new SuspectWatch(1_000);
    watch.isClear({ ...attempt, unseen: new Set([150]) }, 0);
    expect([300, 600, 900, 1_200].map((ms) => watch.isClear(attempt, ms))).toEqual([false, false, false, false]);
    expect(watch.isClear({ ...attempt, ...sees(200) }, 1_500)).toBe(true);
  });

  it("begins to wait anew where memory was not looked at for longer than it reaches back", () => {
    const watch = new SuspectWatch(1_000);
    expect([0, 5_000, 5_200, 5_699].map((ms) => watch.isClear(attempt, ms))).toEqual([false, false, false, false]);
  });

  it("is good at once where memory reaches back far enough, or nothing is amiss", () => {
    expect(new SuspectWatch(1_000).isClear({ ...attempt, spanMs: 1_000 }, 0)).toBe(true);
    expect(new SuspectWatch(1_000).isClear({ ...attempt, ...sees(200) }, 0)).toBe(true);
  });
});
