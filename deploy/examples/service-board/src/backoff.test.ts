import { expect, test } from "vitest";
import { backoffMs } from "./backoff.ts";

test("doubles up to the longest delay, half of it random", () => {
  const longest = [1, 2, 3, 6, 60].map((failures) => backoffMs(failures, () => 1));
  const shortest = [1, 2, 3, 6, 60].map((failures) => backoffMs(failures, () => 0));
  expect(longest).toEqual([500, 1_000, 2_000, 15_000, 15_000]);
  expect(shortest).toEqual([250, 500, 1_000, 7_500, 7_500]);
});
