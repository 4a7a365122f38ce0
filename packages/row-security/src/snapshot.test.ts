import { expect, it } from "vitest";
import { seesAll } from "./snapshot.ts";

const wrapped = 3n * 2n ** 32n;
it.each<[string, string, number[], boolean]>([
  ["nothing", "10:20:", [], true],
  ["what is before all that run", "10:20:", [9], true],
  ["what is done, and began after one that runs", "10:20:10,15", [12], true],
  ["not what runs", "10:20:10,15", [12, 15], false],
  ["not what began since", "10:20:", [20], false],
  ["not what is to come", "10:20:", [21], false],
  ["what was before the numbers began anew", `${wrapped + 3n}:${wrapped + 5n}:`, [2 ** 32 - 1], true],
  ["not what comes after they begin anew", `${wrapped - 2n}:${wrapped - 1n}:`, [3], false],
  ["not what runs, in any round of the numbers", `${wrapped + 3n}:${wrapped + 9n}:${wrapped + 5n}`, [5], false],
])("a snapshot sees %s", (_, snapshot, xids, sees) => {
  expect(seesAll(snapshot, new Set(xids))).toBe(sees);
});
