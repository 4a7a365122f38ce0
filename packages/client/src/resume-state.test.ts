import { describe, expect, it } from "vitest";
import { comparePositions } from "./position.ts";
import { ResumeState, type Gap, type PositionStorage } from "./resume-state.ts";

const topic = "realtime:rows";
const change = (position: string, ids: readonly number[] = [1]): string =>
  JSON.stringify([null, null, topic, "postgres_changes", { ids, data: { type: "INSERT", position, record: {} } }]);
const legacyChange = (position: string): string =>
  JSON.stringify({ topic, event: "INSERT", payload: { type: "INSERT", position, record: {} }, ref: null });
const system = (payload: object): string => JSON.stringify(["1", null, topic, "system", payload]);
const subscribed = (position: string): string =>
  system({ extension: "postgres_changes", status: "ok", message: "Subscribed to PostgreSQL", position });
const join = JSON.stringify(["1", "1", topic, "phx_join", { config: { postgres_changes: [] } }]);
const answer = (ref: string, status = "ok"): string =>
  JSON.stringify(["1", ref, topic, "phx_reply", { status, response: {} }]);
const leave = JSON.stringify(["1", "2", topic, "phx_leave", {}]);

const resumeOf = (frame: string): unknown =>
  (JSON.parse(frame) as { 4: { config: { resume?: unknown } } })[4].config.resume;

function memory(): PositionStorage & { readonly items: Map<string, string> } {
  const items = new Map<string, string>();
  return {
    items,
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => items.set(key, value),
    removeItem: (key) => items.delete(key),
  };
}

describe("positions", () => {
  it.each([
    ["1.0/10.0", "1.0/10.1"],
    ["1.0/9.5", "1.0/10.0"],
    ["1.0/FFFFFFFF.9", "1.1/0.0"],
    ["1.F/0.0", "1.10/0.0"],
    ["9.FF/FF.9", "10.0/0.0"],
  ])("%s comes before %s", (one, other) => {
    expect(comparePositions(one, other)).toBeLessThan(0);
    expect(comparePositions(other, one)).toBeGreaterThan(0);
    expect(comparePositions(one, one)).toBe(0);
  });
});

describe("a join", () => {
  it("is left alone while nothing is known", () => {
    const state = new ResumeState({});
    expect(state.outgoing(join)).toBe(join);
    expect(state.outgoing("no frame")).toBe("no frame");
  });

  it("begins after where the subscription began when no change came", () => {
    const state = new ResumeState({});
    expect(state.incoming(subscribed("1.0/10.0"))).toBe(true);
    expect(resumeOf(state.outgoing(join))).toEqual({ from: "1.0/10.0" });
  });

  it("begins before the last change, of which a frame may be missing", () => {
    const state = new ResumeState({});
    state.incoming(subscribed("1.0/10.0"));
    for (const position of ["1.0/18.0", "1.0/18.1", "1.0/20.0"]) state.incoming(change(position));
    expect(resumeOf(state.outgoing(join))).toEqual({ from: "1.0/18.1" });
  });

  it("of a client of vsn 1.0.0 keeps its form", () => {
    const state = new ResumeState({});
    state.incoming(legacyChange("1.0/10.0"));
    const legacy = { topic, event: "phx_join", payload: { user_token: "x" }, ref: "1" };
    expect(JSON.parse(state.outgoing(JSON.stringify(legacy)))).toEqual({
      ...legacy,
      payload: { user_token: "x", resume: { from: "1.0/10.0" } },
    });
  });

  it("goes on where the channel was after the client gave up waiting for an answer, and left by itself", () => {
    const state = new ResumeState({ storage: memory() });
    state.incoming(change("1.0/10.0"));
    state.incoming(change("1.0/18.0"));
    for (let attempt = 0; attempt < 2; attempt++) {
      expect(resumeOf(state.outgoing(join))).toEqual({ from: "1.0/10.0" });
      state.outgoing(leave);
      expect(state.incoming(answer("1"))).toBe(true); // too late
      // The client does not take these: it has no channel.
      expect([state.incoming(change("1.0/18.0")), state.incoming(change("1.0/20.0"))]).toEqual([false, false]);
    }
    state.outgoing(join);
    state.incoming(answer("1"));
    expect([state.incoming(change("1.0/18.0")), state.incoming(change("1.0/20.0"))]).toEqual([false, true]);
    state.outgoing(leave);
    expect(state.outgoing(join)).toBe(join);
  });

  it("that is refused is still to be answered", () => {
    const state = new ResumeState({});
    state.incoming(change("1.0/10.0"));
    state.outgoing(join);
    expect(state.incoming(answer("1", "error"))).toBe(true);
    state.outgoing(leave);
    expect(resumeOf(state.outgoing(join))).toEqual({ from: "1.0/10.0" });
  });

  it("begins anew after the channel was left", () => {
    const state = new ResumeState({ storage: memory() });
    state.incoming(change("1.0/10.0"));
    expect(state.outgoing(leave)).toBe(leave);
    expect(state.outgoing(join)).toBe(join);
  });
});

describe("changes", () => {
  it("that came already are dropped, other frames of the same change are not", () => {
    const state = new ResumeState({});
    const verdicts = ["1.0/10.0", "1.0/10.1", "1.0/10.0", "1.0/10.1", "1.0/10.2"].map((position) =>
      state.incoming(change(position)),
    );
    expect(verdicts).toEqual([true, true, false, false, true]);
    expect([state.incoming(change("1.0/10.2", [2])), state.incoming(change("1.0/10.2", [2]))]).toEqual([true, false]);
  });

  it("of other topics do not count, and frames without a position pass", () => {
    const state = new ResumeState({});
    state.incoming(change("1.0/10.0"));
    expect(state.incoming(change("1.0/8.0").replace(topic, "realtime:others"))).toBe(true);
    const broadcast = JSON.stringify([null, null, topic, "broadcast", { payload: { position: "1.0/0.0" } }]);
    expect([state.incoming(broadcast), state.incoming(broadcast)]).toEqual([true, true]);
  });

  it("is not moved by what others broadcast, whatever they write into it", () => {
    const state = new ResumeState({});
    state.incoming(change("1.0/10.0"));
    for (const position of ["9.0/0.0", "left"]) {
      const payload = { type: "broadcast", event: "x", payload: {}, position };
      expect(state.incoming(JSON.stringify([null, null, topic, "broadcast", payload]))).toBe(true);
    }
    expect(state.incoming(change("1.0/18.0"))).toBe(true);
    expect(resumeOf(state.outgoing(join))).toEqual({ from: "1.0/10.0" });
  });
});

describe("rows that a channel begins with", () => {
  const page = JSON.stringify([
    null,
    null,
    topic,
    "snapshot",
    { bindings: [1], page: 0, position: "1.0/18.0", rows: [] },
  ]);
  const sent = system({ extension: "snapshot", status: "ok", message: "Snapshot sent", position: "1.0/18.0" });
  const resumed = system({ extension: "resume", status: "ok", message: "Resumed", position: "1.0/30.0" });

  it("are asked for again until all of them and what belongs to them have come, and then no more", () => {
    const state = new ResumeState({});
    for (const frame of [subscribed("1.0/8.0"), change("1.0/10.0"), change("1.0/11.0")]) state.incoming(frame);
    expect(resumeOf(state.outgoing(join))).toEqual({ from: "1.0/10.0" });
    state.incoming(answer("1"));
    for (const frame of [page, sent, subscribed("1.0/18.0"), change("1.0/20.0")]) {
      expect(state.incoming(frame)).toBe(true);
      expect(state.position(topic)).toBeUndefined();
    }
    state.incoming(resumed);
    expect([state.incoming(change("1.0/30.0")), state.incoming(change("1.0/31.0"))]).toEqual([true, true]);
    expect(resumeOf(state.outgoing(join))).toEqual({ from: "1.0/30.0" });
  });

  it("come again after a join that they were cut off from", () => {
    const state = new ResumeState({});
    state.incoming(change("1.0/10.0"));
    state.incoming(page);
    expect(state.outgoing(join)).toBe(join);
    state.incoming(answer("1"));
    for (const frame of [page, sent, resumed]) state.incoming(frame);
    expect(state.position(topic)).toBe("1.0/30.0");
  });
});

describe("a gap", () => {
  it("is told, and the channel goes on behind it", () => {
    const gaps: Gap[] = [];
    const state = new ResumeState({ onGap: (gap) => gaps.push(gap) });
    state.incoming(change("1.0/10.0"));
    const gap = { extension: "resume", status: "error", message: "ResumeGap: …", position: "2.0/5.0" };
    expect(state.incoming(system(gap))).toBe(true);
    expect(gaps).toEqual([{ topic, position: "2.0/5.0", message: "ResumeGap: …" }]);
    expect(resumeOf(state.outgoing(join))).toEqual({ from: "2.0/5.0" });
  });
});

describe("a gap before what has come already", () => {
  it("is none, and nothing comes twice", () => {
    const gaps: Gap[] = [];
    const state = new ResumeState({ onGap: (gap) => gaps.push(gap) });
    for (const position of ["1.0/10.0", "1.0/90.0"]) state.incoming(change(position));
    expect(resumeOf(state.outgoing(join))).toEqual({ from: "1.0/10.0" });
    state.incoming(answer("1"));
    const hole = { extension: "resume", status: "error", message: "ResumeGap: …" };
    expect(["1.0/50.0", "1.0/90.0"].map((position) => state.incoming(system({ ...hole, position })))).toEqual([
      false,
      false,
    ]);
    expect([state.incoming(change("1.0/90.0")), state.incoming(change("1.0/91.0"))]).toEqual([false, true]);
    expect(gaps).toEqual([]);
  });

  it("is one where the server's log ends before what was asked for", () => {
    const gaps: Gap[] = [];
    const state = new ResumeState({ onGap: (gap) => gaps.push(gap) });
    for (const position of ["1.0/10.0", "1.0/90.0"]) state.incoming(change(position));
    const end = { extension: "resume", status: "error", message: "ResumeGap: …", position: "1.0/5.0" };
    expect([state.incoming(system(end)), state.incoming(change("1.0/6.0"))]).toEqual([true, true]);
    expect(gaps).toHaveLength(1);
  });
});

describe("storage", () => {
  it("carries positions over to another run", () => {
    const storage = memory();
    const former = new ResumeState({ storage });
    former.incoming(subscribed("1.0/10.0"));
    former.incoming(change("1.0/18.0"));
    former.incoming(change("1.0/20.0"));
    const state = new ResumeState({ storage });
    expect(resumeOf(state.outgoing(join))).toEqual({ from: "1.0/18.0" });
    state.incoming(answer("1"));
    expect([state.incoming(subscribed("1.0/30.0")), state.incoming(change("1.0/20.0"))]).toEqual([true, true]);
    expect(resumeOf(state.outgoing(join))).toEqual({ from: "1.0/18.0" });
  });
});
