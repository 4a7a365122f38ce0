import { describe, expect, it } from "vitest";
import { keptChanges, lagOf, wasDelivered, withFrame, type Change } from "./change-list.ts";
import { readFrame, withExplain } from "./frame.ts";
import { initialWish, toRequest, wishText } from "./wish.ts";

const frame = (event: string, payload: object, atMs = 1_050) =>
  readFrame(JSON.stringify(["1", null, "realtime:a", event, payload]), { direction: "in", atMs });
const delivery = (position: string, ids: number[], record: object = { id: 1 }) =>
  frame("postgres_changes", {
    ids,
    data: {
      schema: "public",
      table: "todos",
      type: "INSERT",
      commit_timestamp: "1970-01-01T00:00:01.000Z",
      position,
      record,
      errors: null,
    },
  });
const report = (position: string, verdict: string, at: string | null = null) =>
  frame("explain", {
    position,
    schema: "public",
    table: "todos",
    kind: "INSERT",
    commit_timestamp: at,
    bindings: [{ id: 7, verdict }],
  });
const listOf = (...frames: Parameters<typeof withFrame>[1][]): readonly Change[] =>
  frames.reduce<readonly Change[]>((list, one) => withFrame(list, one), []);

describe("withFrame", () => {
  it("puts a change together from its frames, whichever comes first", () => {
    const both = [delivery("1.0/A.0", [7]), report("1.0/A.0", "matched", "1970-01-01T00:00:01.000Z")] as const;
    for (const list of [listOf(...both), listOf(...both.toReversed())]) {
      expect(list).toHaveLength(1);
      expect(list[0]).toMatchObject({ ids: [7], record: { id: 1 }, reports: [{ verdict: "matched" }] });
    }
    const parts = listOf(delivery("1.0/A.0", [7]), delivery("1.0/A.0", [8]));
    expect(parts[0]?.ids).toEqual([7, 8]);
  });

  it("knows what was not delivered, and what is not told", () => {
    const [hidden] = listOf(report("1.0/A.0", "hidden"));
    expect(hidden === undefined ? "" : wasDelivered(hidden)).toBe(false);
    expect(hidden === undefined ? 0 : lagOf(hidden)).toBeUndefined();
    const [shown] = listOf(delivery("1.0/B.0", [7]));
    expect(shown === undefined ? 0 : lagOf(shown)).toBe(50);
  });

  it("keeps the order of positions, not that in which frames come", () => {
    const list = listOf(delivery("1.0/B.0", [7]), report("1.0/A.0", "filter"), report("2.0/1.0", "hidden"));
    expect(list.map(({ position }) => position)).toEqual(["2.0/1.0", "1.0/B.0", "1.0/A.0"]);
  });

  it("keeps the newest first, and so many", () => {
    const frames = Array.from({ length: keptChanges + 5 }, (_, n) => delivery(`1.0/1.${n}`, [7]));
    const list = listOf(...frames);
    expect(list).toHaveLength(keptChanges);
    expect(list[0]?.position).toBe(`1.0/1.${keptChanges + 4}`);
  });

  it("leaves the list alone at frames that say nothing of a change", () => {
    const list = listOf(delivery("1.0/A.0", [7]));
    for (const other of [frame("explain", { skipped: 3 }), frame("system", {}), frame("postgres_changes", {})])
      expect(withFrame(list, other)).toBe(list);
  });
});

describe("frames", () => {
  it("are read in both formats, and whatever else comes", () => {
    const seen = { direction: "in", atMs: 0 } as const;
    expect(readFrame('{"topic":"t","event":"e","payload":{"a":1}}', seen)).toMatchObject({
      topic: "t",
      event: "e",
      payload: { a: 1 },
    });
    const refresh = '["1","1","t","access_token",{"access_token":"secret"}]';
    expect(readFrame(refresh, seen).text).toBe('["1","1","t","access_token",{"access_token":"…"}]');
    expect(readFrame("no json", seen)).toMatchObject({ event: "unreadable", text: "no json" });
    expect(readFrame(new ArrayBuffer(3), seen)).toMatchObject({ event: "binary", bytes: 3 });
  });

  it("of joins ask why, others go as they are", () => {
    const join = JSON.stringify(["1", "1", "realtime:a", "phx_join", { config: { private: true }, access_token: "x" }]);
    expect(JSON.parse(withExplain(join))).toEqual([
      "1",
      "1",
      "realtime:a",
      "phx_join",
      { config: { private: true, explain: true }, access_token: "x" },
    ]);
    const other = JSON.stringify(["1", "2", "realtime:a", "broadcast", { event: '"phx_join"' }]);
    expect(withExplain(other)).toBe(other);
  });
});

describe("a wish", () => {
  it("comes from a link, what is missing or wrong aside", () => {
    expect(initialWish("#table=todos&filter=done%3Deq.false&event=insert").bindings).toEqual([
      { event: "INSERT", schema: "public", table: "todos", filter: "done=eq.false" },
    ]);
    expect(initialWish("#event=EVERYTHING")).toMatchObject({
      topic: "inspector",
      bindings: [{ event: "*", table: "*" }],
    });
  });

  it("is asked for without an empty filter", () => {
    const [binding] = initialWish("").bindings;
    if (binding === undefined) return expect.fail("no binding");
    expect(toRequest(binding)).toEqual({ event: "*", schema: "public", table: "*" });
    expect(wishText({ ...binding, filter: " a=eq.1 " })).toBe("any public.* a=eq.1");
    return undefined;
  });
});
