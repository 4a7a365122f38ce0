import { describe, expect, it } from "vitest";
import { parseJoin } from "./join-payload.ts";

const current = {
  tag: "current",
  token: undefined,
  postgresChanges: [],
  wait: undefined,
  broadcast: { ack: false, self: false, replay: { tag: "none" }, tellsReady: false },
  presence: { key: undefined, isEnabled: false },
  isPrivate: false,
  isExplained: false,
  resume: { tag: "none" },
  hasMeta: false,
  snapshot: { tag: "none" },
};

describe("parseJoin", () => {
  it.each([
    ["an empty object", {}],
    ["a 1.x token", { user_token: "jwt" }],
    ["null", null],
    ["an array", []],
    ["a text", "config"],
    ["nothing", undefined],
  ])("takes %s, which has no config, for a legacy join", (_, payload) => {
    expect(parseJoin(payload)).toMatchObject({ tag: "legacy" });
  });

  it.each([
    ["empty", {}],
    ["null", null],
    ["no object", 7],
    ["an array", [{ postgres_changes: [{ schema: "public" }] }]],
  ])("goes on with the defaults when config is %s", (_, config) => {
    expect(parseJoin({ config })).toEqual(current);
  });

  it("keeps each binding as the client sent it, and drops what is none", () => {
    const bindings = [
      { event: "*", schema: "public", table: "todos", filter: "id=eq.1" },
      null,
      { filter: null, extra: { deep: [1] } },
      "text",
      [],
      {},
    ];
    const join = parseJoin({ config: { postgres_changes: bindings } });
    const { postgresChanges } = join.tag === "current" ? join : { postgresChanges: [] };
    expect(postgresChanges).toEqual([bindings[0], bindings[2], {}]);
    expect(postgresChanges[0]).toBe(bindings[0]);
  });

  it.each([null, undefined, {}, "all", 7])("has no bindings when postgres_changes is %j", (bindings) => {
    expect(parseJoin({ config: { postgres_changes: bindings } })).toEqual(current);
  });

  it.each<[unknown, boolean]>([
    [true, true],
    ["true", true],
    ["TRUE", true],
    [false, false],
    ["false", false],
    [undefined, false],
    [null, false],
    [1, false],
    ["yes", false],
  ])("reads private: %j as %s, and explain likewise", (value, isPrivate) => {
    expect(parseJoin({ config: { private: value } })).toEqual({ ...current, isPrivate });
    expect(parseJoin({ config: { explain: value } })).toEqual({ ...current, isExplained: isPrivate });
  });

  it.each<[unknown, { ack: boolean; self: boolean }]>([
    [
      { ack: true, self: true },
      { ack: true, self: true },
    ],
    [
      { ack: "True", self: "false" },
      { ack: true, self: false },
    ],
    [{ self: "TRUE" }, { ack: false, self: true }],
    [
      { ack: 1, self: "yes" },
      { ack: false, self: false },
    ],
    [null, { ack: false, self: false }],
    ["all", { ack: false, self: false }],
    [[true], { ack: false, self: false }],
  ])("reads broadcast: %j as %j", (given, broadcast) => {
    expect(parseJoin({ config: { broadcast: given } })).toEqual({
      ...current,
      broadcast: { ...current.broadcast, ...broadcast },
    });
  });

  it.each([[true], ["TRUE"]])("reads replication_ready: %j", (replication_ready) => {
    expect(parseJoin({ config: { broadcast: { replication_ready } } })).toMatchObject({
      broadcast: { tellsReady: true },
    });
  });

  it.each<[string, object, string | undefined]>([
    ["none", {}, undefined],
    ["access_token", { access_token: "a" }, "a"],
    ["user_token", { user_token: "u" }, "u"],
    ["user_token before access_token", { access_token: "a", user_token: "u" }, "u"],
    ["the connection's when the first is an opaque key", { access_token: "sb_x", user_token: "u" }, undefined],
    ["the connection's when the only one is an opaque key", { user_token: "sb_x" }, undefined],
    ["user_token, opaque or not, when access_token is a token", { access_token: "a", user_token: "sb_x" }, "sb_x"],
    ["user_token when access_token is null", { access_token: null, user_token: "u" }, "u"],
    ["access_token when user_token is no text", { access_token: "a", user_token: 7 }, "a"],
    ["the connection's when neither is a text", { access_token: 7, user_token: {} }, undefined],
    ["an empty one", { access_token: "" }, ""],
  ])("chooses the token: %s", (_, tokens, expected) => {
    expect(parseJoin(tokens).token).toBe(expected);
    expect(parseJoin({ ...tokens, config: {} }).token).toBe(expected);
  });

  it.each<[unknown, object]>([
    [
      { key: "user 1", enabled: "true" },
      { key: "user 1", isEnabled: true },
    ],
    [
      { key: "", enabled: true },
      { key: undefined, isEnabled: true },
    ],
    [{ key: null }, { key: undefined, isEnabled: false }],
    [
      { key: 7, enabled: 1 },
      { key: undefined, isEnabled: false },
    ],
    ["user", { key: undefined, isEnabled: false }],
  ])("reads presence %j", (presence, expected) => {
    expect(parseJoin({ config: { presence } })).toMatchObject({ presence: expected });
  });
});

describe("a join that waits for its changes", () => {
  it.each<[unknown, number]>([
    [{ wait: true }, 15_000],
    [{ wait: "True", timeout: 500 }, 500],
    [{ wait: true, timeout: 60_000 }, 20_000],
    [{ wait: true, timeout: 0 }, 15_000],
    [{ wait: true, timeout: -1 }, 15_000],
    [{ wait: true, timeout: "500" }, 15_000],
    [{ wait: true, timeout: 1e308 }, 20_000],
  ])("with %j waits for %i ms", (postgres_changes_options, timeoutMs) => {
    expect(parseJoin({ config: { postgres_changes_options } })).toEqual({ ...current, wait: { timeoutMs } });
  });

  it.each([[undefined], [null], [true], [{}], [{ wait: false, timeout: 500 }], [{ timeout: 500 }]])(
    "is none with %j",
    (postgres_changes_options) => {
      expect(parseJoin({ config: { postgres_changes_options } })).toEqual(current);
    },
  );
});

describe("a join that resumes", () => {
  const position = { epoch: 1, commitLsn: 0x16b3748n, index: 3 };
  it.each([
    ["an object", { from: "1.0/16B3748.3" }],
    ["the position alone", "1.0/16B3748.3"],
  ])("names it as %s, in config or, for 1.x clients, beside the token", (_, resume) => {
    expect(parseJoin({ config: { resume } }).resume).toEqual({ tag: "from", position });
    expect(parseJoin({ user_token: "x", resume }).resume).toEqual({ tag: "from", position });
  });

  it.each([[undefined], [null], [""], [{}], [{ from: null }]])("is none with %j", (resume) => {
    expect(parseJoin({ config: { resume } }).resume).toEqual({ tag: "none" });
  });

  it.each([["yesterday"], [7], [{ from: "1.0/16B3748" }], [true]])("is invalid with %j", (resume) => {
    expect(parseJoin({ config: { resume } }).resume).toMatchObject({ tag: "invalid" });
  });
});

it.each([
  [true, { config: { meta: true } }],
  [true, { config: { meta: "true" } }],
  [true, { user_token: "x", meta: true }],
  [false, { config: { meta: 1 } }],
  [false, { meta: true, config: {} }],
])("changes have meta: %s with %j", (hasMeta, payload) => {
  expect(parseJoin(payload).hasMeta).toBe(hasMeta);
});

describe("a snapshot", () => {
  const asked = { tag: "asked", limit: undefined, order: undefined, pageRows: 500, isCollection: false };
  it.each<[unknown, object]>([
    [undefined, { tag: "none" }],
    [null, { tag: "none" }],
    [false, { tag: "none" }],
    [true, asked],
    [{}, asked],
    [
      { limit: 7, order: "a.desc", page_size: 20 },
      { ...asked, limit: 7, order: "a.desc", pageRows: 20 },
    ],
    [
      { order: ["a", "b.desc"], page_size: 1e6 },
      { ...asked, order: "a,b.desc", pageRows: 10_000 },
    ],
    [{ collection: true }, { ...asked, isCollection: true }],
    [{ limit: null, order: "" }, asked],
  ])("of %j is asked for in config or, by 1.x clients, beside the token", (snapshot, wanted) => {
    expect(parseJoin({ config: { snapshot } }).snapshot).toEqual(wanted);
    expect(parseJoin({ user_token: "x", snapshot }).snapshot).toEqual(wanted);
    expect(parseJoin({ config: { postgres_changes: [{ event: "*" }, { snapshot }] } }).snapshot).toEqual(wanted);
  });

  it.each([["yes"], [1], [{ limit: 0 }], [{ limit: 1.5 }], [{ order: 3 }], [{ page_size: "many" }]])(
    "of %j is none that could be served",
    (snapshot) => {
      expect(parseJoin({ config: { snapshot } }).snapshot).toMatchObject({ tag: "invalid" });
    },
  );
});
