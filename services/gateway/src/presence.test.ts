import { MemoryNetwork } from "@walcast/bus";
import { MemoryPresenceStore } from "@walcast/presence";
import { waitUntil } from "@walcast/testkit";
import { describe, expect, it } from "vitest";
import { presenceAddress } from "./presence-room.ts";
import {
  env,
  nothing,
  okJoin,
  openSocket,
  policies,
  readOnly,
  room,
  startTestGateway,
  testLeaseMs,
  tokenOf,
  type TestGateway,
  type TestSocket,
  type Vsn,
} from "./test-gateway.ts";

const enabled = (key?: string): object => ({ presence: { enabled: true, ...(key === undefined ? {} : { key }) } });

async function enter(gateway: TestGateway, config: object, { vsn = "2.0.0" }: { vsn?: Vsn } = {}): Promise<TestSocket> {
  const socket = await openSocket(gateway, vsn);
  expect(await socket.join(room, config)).toEqual(okJoin);
  return socket;
}

/** Sends a presence push and resolves with its answer. */
let pushes = 0;
async function push(socket: TestSocket, payload: unknown, topic = room): Promise<unknown> {
  const ref = `p${++pushes}`;
  socket.send(topic, "presence", payload, ref);
  await socket.settled();
  const answer = socket.frames.find((frame) => Array.isArray(frame) && (frame as unknown[])[1] === ref);
  return (answer as unknown[] | undefined)?.[4];
}
const track = (socket: TestSocket, meta: unknown): Promise<unknown> =>
  push(socket, { type: "presence", event: "track", payload: meta });
const untrack = (socket: TestSocket): Promise<unknown> => push(socket, { type: "presence", event: "untrack" });

const ok = { status: "ok", response: {} };
const refused = { status: "error", response: {} };

interface Meta {
  readonly phx_ref: string;
  readonly phx_ref_prev?: string;
}
type State = Readonly<Record<string, { readonly metas: readonly Meta[] }>>;
interface Told {
  readonly event: string;
  readonly payload: State & { readonly joins?: State; readonly leaves?: State };
}

/** What a socket was told of presence. */
const told = ({ frames }: TestSocket): Told[] =>
  frames
    .map((frame) => {
      if (Array.isArray(frame)) {
        const [, , , event, payload] = frame as unknown[];
        return { event, payload } as Told;
      }
      const { event, payload } = frame as Told;
      return { event, payload };
    })
    .filter(({ event }) => event === "presence_state" || event === "presence_diff");

/** Refs as `1`, `2` … in the order in which they come up. */
function numbered(frames: readonly Told[]): unknown {
  const refs: string[] = [];
  return JSON.parse(JSON.stringify(frames), (name, value: unknown) => {
    if (name !== "phx_ref" && name !== "phx_ref_prev") return value;
    if (!refs.includes(String(value))) refs.push(String(value));
    return refs.indexOf(String(value)) + 1;
  }) as unknown;
}

const state = (payload: object): object => ({ event: "presence_state", payload });
const diff = (joins: object, leaves: object): object => ({ event: "presence_diff", payload: { joins, leaves } });
const metas = (...entries: object[]): object => ({ metas: entries });

describe("a channel with presence", () => {
  it.each(["1.0.0", "2.0.0"] as const)(
    "of vsn %s is told who is there, then who comes, changes and goes",
    async (vsn) => {
      const gateway = await startTestGateway({ env: { CLIENT_PRESENCE_MAX_CALLS: "6" } });
      const watcher = await enter(gateway, enabled("w"), { vsn });
      const user = await enter(gateway, enabled("u"));
      expect(await track(user, { n: 1 })).toEqual(ok);
      expect(await track(user, { n: 2 })).toEqual(ok);
      expect(await track(user, { n: 2 })).toEqual(ok);
      expect(await untrack(user)).toEqual(ok);
      expect(await untrack(user)).toEqual(ok);
      expect(await track(user, { n: 2 })).toEqual(ok);
      await watcher.settled();
      expect(numbered(told(watcher))).toEqual([
        state({}),
        diff({ u: metas({ phx_ref: 1, n: 1 }) }, {}),
        diff({ u: metas({ phx_ref: 2, phx_ref_prev: 1, n: 2 }) }, { u: metas({ phx_ref: 1, n: 1 }) }),
        diff({}, { u: metas({ phx_ref: 2, phx_ref_prev: 1, n: 2 }) }),
        diff({ u: metas({ phx_ref: 3, n: 2 }) }, {}),
      ]);
      expect(numbered(told(user))).toEqual(numbered(told(watcher)));
      const late = await enter(gateway, enabled(), { vsn });
      await late.settled();
      expect(numbered(told(late))).toEqual([state({ u: metas({ phx_ref: 1, n: 2 }) })]);
    },
  );

  it("is told in frames of the shape that each serializer has", async () => {
    const gateway = await startTestGateway();
    const [one, two] = [await enter(gateway, enabled(), { vsn: "1.0.0" }), await enter(gateway, enabled())];
    await track(two, {});
    await one.settled();
    const payload = { joins: expect.any(Object) as object, leaves: {} };
    expect(one.frames).toEqual([
      { topic: room, event: "presence_state", payload: {}, ref: null },
      { topic: room, event: "presence_diff", payload, ref: null },
    ]);
    expect(two.frames.filter((frame) => (frame as unknown[])[1] === null)).toEqual([
      ["j", null, room, "presence_state", {}],
      [null, null, room, "presence_diff", payload],
    ]);
  });

  it("shares a key with others, and has one of its own when it names none", async () => {
    const gateway = await startTestGateway();
    const [one, two] = [await enter(gateway, enabled("u")), await enter(gateway, enabled("u"))];
    const unnamed = await enter(gateway, enabled(""));
    await track(one, { device: 1 });
    await track(two, { device: 2 });
    await track(unnamed, {});
    const late = await enter(gateway, enabled());
    const [{ payload } = { payload: {} as State }] = told(late);
    expect(payload["u"]?.metas).toEqual([
      { phx_ref: expect.any(String) as string, device: 1 },
      { phx_ref: expect.any(String) as string, device: 2 },
    ]);
    expect(Object.keys(payload).find((key) => key !== "u")).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/u);
    await untrack(one);
    await late.settled();
    expect(told(late).at(-1)).toMatchObject({
      payload: { joins: {}, leaves: { u: { metas: [{ device: 1 }] } } },
    });
  });

  it("answers every push, and tells nobody of what is none", async () => {
    const gateway = await startTestGateway({ env: { CLIENT_PRESENCE_MAX_CALLS: "0" } });
    const socket = await enter(gateway, enabled("u"));
    const mapReason = { status: "error", response: { reason: "Presence track payload must be a map" } };
    for (const payload of [null, [], 7, "x"]) expect(await track(socket, payload)).toEqual(mapReason);
    expect(await push(socket, { type: "presence" })).toEqual(ok);
    for (const payload of [{ event: "dance" }, { event: null }, [], null, 7])
      expect(await push(socket, payload)).toEqual(refused);
    expect(told(socket)).toEqual([state({})]);
    expect(await push(socket, { event: "TRACK" })).toEqual(ok);
    expect(await push(socket, { event: "UnTrack" })).toEqual(ok);
    expect(told(socket)).toHaveLength(3);
  });

  it("passes on what is tracked as it was spelled, and keeps its own names to itself", async () => {
    const gateway = await startTestGateway();
    const socket = await enter(gateway, enabled("__proto__"));
    const texts: string[] = [];
    const raw = new WebSocket(`${gateway.base.replace("http", "ws")}/socket/websocket?vsn=2.0.0`);
    raw.addEventListener("message", ({ data }) => texts.push(String(data)));
    await new Promise((resolve) => raw.addEventListener("open", resolve));
    raw.send(`["1","1","${room}","phx_join",{"config":{"presence":{"enabled":true}}}]`);
    await waitUntil(() => texts.length === 2, { what: "the state" });
    socket.sendRaw(
      `["j","9","${room}","presence",{"event":"track","payload":{ "n": 12345678901234567890.10 ,"phx_ref":"mine"}}]`,
    );
    await waitUntil(() => texts.length === 3, { what: "the diff" });
    expect(texts[2]).toMatch(
      /^\[null,null,"realtime:room","presence_diff",\{"joins":\{"__proto__":\{"metas":\[\{"phx_ref":"[^"]+","n":12345678901234567890\.10\}\]\}\},"leaves":\{\}\}\]$/u,
    );
    raw.close();
  });

  it("leaves with its channel and with its socket, each time as one diff", async () => {
    const gateway = await startTestGateway();
    const watcher = await enter(gateway, enabled());
    const [leaving, closing, rejoining] = [
      await enter(gateway, enabled("leaving")),
      await enter(gateway, enabled("closing")),
      await enter(gateway, enabled("rejoining")),
    ];
    for (const socket of [leaving, closing, rejoining]) await track(socket, {});
    leaving.send(room, "phx_leave", {});
    await leaving.settled();
    closing.close();
    await rejoining.join(room, enabled("again"));
    await track(rejoining, {});
    const leaves = (): string[] => told(watcher).flatMap(({ payload }) => Object.keys(payload.leaves ?? {}));
    await waitUntil(() => leaves().length === 3, { what: "all to leave" });
    expect(leaves().toSorted()).toEqual(["closing", "leaving", "rejoining"]);
    // A new join starts anew: state first, and of its own former part it hears nothing more.
    expect(told(rejoining).slice(-2)).toMatchObject([
      { event: "presence_state" },
      { event: "presence_diff", payload: { joins: { again: {} }, leaves: {} } },
    ]);
    expect(await gateway.metric("walcast_gateway_presence_entries")).toBe(1);
  });
});

describe("a channel without presence", () => {
  it("hears of changes in a public topic, and is told who is there once it tracks", async () => {
    const gateway = await startTestGateway();
    const plain = await enter(gateway, { presence: { key: "plain" } });
    const user = await enter(gateway, enabled("u"));
    await track(user, {});
    await plain.settled();
    expect(told(plain).map(({ event }) => event)).toEqual(["presence_diff"]);
    expect(await track(plain, { n: 1 })).toEqual(ok);
    expect(await track(plain, { n: 2 })).toEqual(ok);
    expect(numbered(told(plain).slice(1))).toEqual([
      state({ u: metas({ phx_ref: 1 }) }),
      diff({ plain: metas({ phx_ref: 2, n: 1 }) }, {}),
      diff({ plain: metas({ phx_ref: 3, phx_ref_prev: 2, n: 2 }) }, { plain: metas({ phx_ref: 2, n: 1 }) }),
    ]);
  });

  it("has it all the same with PRESENCE_ENABLED", async () => {
    const gateway = await startTestGateway({ env: { PRESENCE_ENABLED: "true" } });
    const socket = await enter(gateway, { presence: { enabled: false } });
    await socket.settled();
    expect(told(socket)).toEqual([state({})]);
  });

  it("that is a legacy one answers that there is none", async () => {
    const gateway = await startTestGateway({ env: { PRESENCE_ENABLED: "true" } });
    const socket = await openSocket(gateway);
    socket.send(room, "phx_join", {});
    expect(await track(socket, {})).toEqual(refused);
    expect(told(socket)).toEqual([]);
  });
});

describe("presence in a private channel", () => {
  const presence = (read: boolean, write: boolean) => ({
    broadcast: { read: true, write: false },
    presence: { read, write },
  });

  it("is told to who may read it, and taken from who may write it", async () => {
    const { rights } = policies({ reader: presence(true, false), writer: presence(false, true), none: readOnly });
    const gateway = await startTestGateway({ env, channelRights: rights });
    const open = async (role: string): Promise<TestSocket> => {
      const socket = await openSocket(gateway, "2.0.0", tokenOf(role));
      expect(await socket.join(room, { private: true, ...enabled(role) })).toEqual(okJoin);
      return socket;
    };
    const [all, reader, writer, none] = [
      await open("all"),
      await open("reader"),
      await open("writer"),
      await open("none"),
    ];
    const outside = await openSocket(gateway, "2.0.0", tokenOf("outside"));
    await outside.join(room, enabled());
    for (const socket of [all, writer]) expect(await track(socket, {})).toEqual(ok);
    for (const socket of [reader, none]) expect(await track(socket, {})).toEqual(refused);
    for (const socket of [none, reader]) expect(await untrack(socket)).toEqual(refused);
    for (const socket of [all, reader, writer, none, outside]) await socket.settled();
    const counts = [all, reader, writer, none, outside].map((socket) => told(socket).length);
    expect(counts).toEqual([3, 3, 0, 0, 1]);
  });

  it("follows what a new token may do", async () => {
    const { rights } = policies({ none: readOnly, blind: nothing });
    const gateway = await startTestGateway({ env, channelRights: rights });
    const socket = await openSocket(gateway, "2.0.0", tokenOf("none"));
    await socket.join(room, { private: true, ...enabled("u") });
    expect(await track(socket, {})).toEqual(refused);
    socket.send(room, "access_token", { access_token: tokenOf("all") });
    await socket.settled();
    expect(await track(socket, {})).toEqual(ok);
    expect(told(socket).map(({ event }) => event)).toEqual(["presence_state", "presence_diff"]);
  });

  it("hears nothing without having asked for presence, until it tracks", async () => {
    const gateway = await startTestGateway();
    const plain = await enter(gateway, { private: true, presence: { key: "plain" } });
    const user = await enter(gateway, { private: true, ...enabled("u") });
    await track(user, {});
    await plain.settled();
    expect(told(plain)).toEqual([]);
    await track(plain, {});
    expect(told(plain).map(({ event }) => event)).toEqual(["presence_state", "presence_diff"]);
  });
});

describe("presence on two gateways", () => {
  const start = async (): Promise<readonly [TestGateway, TestGateway, MemoryNetwork]> => {
    const network = new MemoryNetwork();
    const presence = new MemoryPresenceStore({ leaseMs: testLeaseMs });
    return [await startTestGateway({ network, presence }), await startTestGateway({ network, presence }), network];
  };
  const untilTold = (socket: TestSocket, count: number): Promise<unknown> =>
    waitUntil(() => told(socket).length >= count, { what: `${count} presence frames` });

  it("is one: state, diffs, updates and leaves", async () => {
    const [here, there] = await start();
    const user = await enter(here, enabled("u"));
    await track(user, { n: 1 });
    const far = await enter(there, enabled("f"));
    await untilTold(far, 1);
    await track(far, {});
    await track(user, { n: 2 });
    await untilTold(far, 3);
    user.close();
    await untilTold(far, 4);
    expect(numbered(told(far))).toEqual([
      state({ u: metas({ phx_ref: 1, n: 1 }) }),
      diff({ f: metas({ phx_ref: 2 }) }, {}),
      diff({ u: metas({ phx_ref: 3, phx_ref_prev: 1, n: 2 }) }, { u: metas({ phx_ref: 1, n: 1 }) }),
      diff({}, { u: metas({ phx_ref: 3, phx_ref_prev: 1, n: 2 }) }),
    ]);
  });

  it("has each change once for channels that join in the middle of many", async () => {
    const [here, there] = await start();
    const users = await Promise.all(Array.from({ length: 20 }, (_, i) => enter(here, enabled(`u${i}`))));
    const watchers: TestSocket[] = [];
    await Promise.all([
      ...users.map((user, i) => track(user, { i })),
      ...Array.from({ length: 20 }, async (_, i) => watchers.push(await enter(i % 2 === 0 ? here : there, enabled()))),
    ]);
    for (const watcher of watchers) {
      const refs = (): string[] =>
        told(watcher).flatMap(({ event, payload }) =>
          Object.values((event === "presence_state" ? payload : payload.joins) ?? {}).flatMap((one) =>
            one.metas.map((meta) => meta.phx_ref),
          ),
        );
      await waitUntil(() => refs().length >= users.length, { what: "all to be told" });
      expect(new Set(refs()).size).toBe(users.length);
      expect(refs()).toHaveLength(users.length);
      expect(
        told(watcher)
          .map(({ event }) => event)
          .lastIndexOf("presence_state"),
      ).toBe(0);
    }
  });

  it("passes over what another gateway garbles", async () => {
    const [here, , network] = await start();
    const socket = await enter(here, enabled());
    const bus = network.open();
    for (const text of ["garbage", "{}", '{"tag":"put","entry":{},"lease":"l","isStored":true}', '{"tag":"all"}'])
      bus.publish(presenceAddress("public:room"), Buffer.from(text));
    await socket.settled();
    expect(told(socket)).toEqual([state({})]);
    expect(await here.metric("walcast_gateway_presence_malformed_total")).toBe(4);
  });
});
