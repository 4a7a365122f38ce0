import { expect, it } from "vitest";
import { parseJoin } from "./join-payload.ts";
import { parseReplay } from "./replay-request.ts";

it.each<[unknown, ReturnType<typeof parseReplay>]>([
  [undefined, { tag: "none" }],
  [null, { tag: "none" }],
  [{ since: 1_700_000_000_000 }, { tag: "wanted", sinceMs: 1_700_000_000_000, limit: 25 }],
  [
    { since: 5, limit: null },
    { tag: "wanted", sinceMs: 5, limit: 25 },
  ],
  [
    { since: 5, limit: 1 },
    { tag: "wanted", sinceMs: 5, limit: 1 },
  ],
  [
    { since: 5, limit: 25 },
    { tag: "wanted", sinceMs: 5, limit: 25 },
  ],
  [
    { since: 5, limit: 26 },
    { tag: "wanted", sinceMs: 5, limit: 25 },
  ],
  [
    { since: -5, limit: 1e15 },
    { tag: "wanted", sinceMs: 0, limit: 25 },
  ],
  [
    { since: Number.MAX_SAFE_INTEGER, limit: 2 },
    { tag: "wanted", sinceMs: 8.64e15, limit: 2 },
  ],
  [{}, { tag: "invalid" }],
  [[], { tag: "invalid" }],
  [true, { tag: "invalid" }],
  ["yesterday", { tag: "invalid" }],
  [{ limit: 5 }, { tag: "invalid" }],
  [{ since: null }, { tag: "invalid" }],
  [{ since: "5" }, { tag: "invalid" }],
  [{ since: 5.5 }, { tag: "invalid" }],
  [{ since: 1e300 }, { tag: "invalid" }],
  [{ since: 5, limit: 0 }, { tag: "invalid" }],
  [{ since: 5, limit: -1 }, { tag: "invalid" }],
  [{ since: 5, limit: 1.5 }, { tag: "invalid" }],
  [{ since: 5, limit: "5" }, { tag: "invalid" }],
])("%j is read as %j", (replay, expected) => {
  expect(parseReplay(replay)).toEqual(expected);
  expect(parseJoin({ config: { broadcast: { replay } } })).toMatchObject({ broadcast: { replay: expected } });
});
