import { expect, test } from "vitest";
import { compareWithTables, type CommittedRow, type SeenChange } from "./ledger.ts";

const insert = (n: number, writer = 1): SeenChange => ({ kind: "insert", table: "t", writer, n, version: 0 });
const update = (n: number, version: number): SeenChange => ({ ...insert(n), kind: "update", version });
const remove = (n: number): SeenChange => ({ ...insert(n), kind: "delete", version: undefined });
const row = (n: number, version = 0, isDeleted = false): CommittedRow => ({
  table: "t",
  writer: 1,
  n,
  version,
  isDeleted,
});

const fine = { lost: 0, repeated: 0, outOfOrder: 0, invented: 0 };

test("a log that tells what the tables hold is fine, whatever numbers were never committed", () => {
  const changes = [insert(1), insert(1, 2), update(1, 1), insert(4), update(1, 2), remove(4)];
  const rows = [row(1, 2), row(4, 0, true), { ...row(1), writer: 2 }];
  expect(compareWithTables(changes, rows)).toEqual({ committed: 6, ...fine, examples: [] });
});

test.each<[string, SeenChange[], CommittedRow[], Partial<typeof fine>]>([
  ["a missing insert", [insert(1)], [row(1), row(2)], { lost: 1 }],
  ["a missing row with all its changes", [], [row(1, 2, true)], { lost: 4 }],
  ["a missing update in the middle", [insert(1), update(1, 2)], [row(1, 2)], { lost: 1 }],
  ["a missing update at the end", [insert(1)], [row(1, 3)], { lost: 3 }],
  ["a missing delete", [insert(1)], [row(1, 0, true)], { lost: 1 }],
  ["a repeated insert", [insert(1), insert(1)], [row(1)], { repeated: 1 }],
  ["a repeated update", [insert(1), update(1, 1), update(1, 1)], [row(1, 1)], { repeated: 1 }],
  ["a repeated delete", [insert(1), remove(1), remove(1)], [row(1, 0, true)], { repeated: 1 }],
  ["a writer's rows in another order", [insert(2), insert(1)], [row(1), row(2)], { outOfOrder: 1 }],
  ["an update before its insert", [update(1, 1), insert(1)], [row(1)], { outOfOrder: 1 }],
  ["a row that was rolled back", [insert(1)], [], { invented: 1 }],
  ["an update that was rolled back", [insert(1), update(1, 1)], [row(1)], { invented: 1 }],
  ["a delete that was rolled back", [insert(1), remove(1)], [row(1)], { invented: 1 }],
])("%s is found", (_what, changes, rows, expected) => {
  const { committed: _committed, examples, ...found } = compareWithTables(changes, rows);
  expect(found).toEqual({ ...fine, ...expected });
  expect(examples).toHaveLength(1);
});
