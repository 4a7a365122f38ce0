import { MemoryChangeLog, transactionLine } from "@walcast/change-log";
import { formatLsn, toLsn } from "@walcast/model";
import { SchemaMissingError, type History } from "@walcast/row-security";
import { describe, expect, it } from "vitest";
import type { ReadHistory } from "./replays.ts";
import {
  env,
  okJoin,
  openSocket,
  policies,
  presenceOnly,
  room,
  startTestGateway,
  text,
  tokenOf,
  type TestGateway,
  type TestSocket,
} from "./test-gateway.ts";

const json = (id: string) => ({ id, event: "e", encoding: "json", payload: Buffer.from(`{"n":"${id}"}`) }) as const;
const binary = { id: "b", event: "bytes", encoding: "binary", payload: Buffer.of(0, 255) } as const;
const historyOf =
  (history: Partial<History>): ReadHistory =>
  () =>
    Promise.resolve({ messages: [], upTo: toLsn(0n), ...history });
const config = (replay: unknown, more: object = {}): object => ({
  private: true,
  broadcast: { replay, ack: true },
  ...more,
});
const refusal = (reason: string): object => ({ status: "error", response: { reason } });
const meta = (id: string): object => ({ replayed: true, id });
const replayed = (id: string): object => ({ type: "broadcast", event: "e", payload: { n: id }, meta: meta(id) });

/** A log in which a row of realtime.messages comes for each id. */
async function createLog(): Promise<{ readonly log: MemoryChangeLog; readonly append: (id: string) => Promise<void> }> {
  const log = new MemoryChangeLog();
  const writer = await log.openWriter();
  const relation = { oid: 9, schema: "realtime", table: "messages", replicaIdentity: "d", columns: [] } as const;
  let commits = 0;
  return {
    log,
    async append(id) {
      const commitLsn = toLsn(BigInt(++commits) * 8n);
      const position = { epoch: 1, commitLsn, index: 0 };
      const begin = transactionLine({
        commitLsnText: formatLsn(commitLsn),
        committedAtMicros: 0,
        xid: commits,
        index: 0,
      });
      const row = { topic: "room", event: "e", id, private: true, payload: { n: id } };
      const lines = Buffer.from(`${begin}I\t${JSON.stringify(row)}\n`);
      await writer.append({ relation, first: position, last: position, lines });
    },
  };
}

describe("a join that wants broadcasts replayed", () => {
  it.each([[{}], [{ since: "5" }], [{ since: 5, limit: 0 }], [true]])("is refused for %j", async (replay) => {
    const gateway = await startTestGateway({ readHistory: historyOf({}) });
    const socket = await openSocket(gateway);
    expect(await socket.join(room, config(replay))).toEqual(
      refusal("UnableToReplayMessages: Replay params are not valid"),
    );
  });

  it("is refused on a public channel, whatever else is wrong with it", async () => {
    const gateway = await startTestGateway({ readHistory: historyOf({}) });
    const socket = await openSocket(gateway);
    for (const replay of [{ since: 5 }, {}]) {
      expect(await socket.join(room, config(replay, { private: false }))).toEqual(
        refusal("UnableToReplayMessages: Replay is not allowed for public channels"),
      );
    }
    expect(await socket.join(room, config(null, { private: false }))).toEqual(okJoin);
  });

  it("is refused when what is stored cannot be read, and leaves nothing behind", async () => {
    let failure: Error = new Error("no database");
    const gateway = await startTestGateway({ readHistory: () => Promise.reject(failure) });
    const socket = await openSocket(gateway);
    const words = "UnableToReplayMessages: Realtime was unable to replay messages";
    expect(await socket.join(room, config({ since: 5 }))).toEqual(refusal(words));
    failure = new SchemaMissingError({ cause: undefined });
    expect(await socket.join(room, config({ since: 5 }))).toEqual(
      refusal(`${words}: realtime.messages does not exist, run \`walcast migrate\``),
    );
    expect(await gateway.metric("walcast_gateway_rooms")).toBe(0);
  });

  it("is asked for after the policies, with what the client may be asked about", async () => {
    const asked: unknown[] = [];
    const { rights } = policies({
      none: { broadcast: { read: false, write: true }, presence: { read: false, write: false } },
      present: presenceOnly,
    });
    const readHistory: ReadHistory = ({ subtopic, claims, sinceMs, limit }) => {
      asked.push([subtopic, claims?.role, sinceMs, limit]);
      return Promise.resolve({ messages: [json("1")], upTo: toLsn(0n) });
    };
    const gateway = await startTestGateway({ env, channelRights: rights, readHistory });
    const open = (role: string): Promise<TestSocket> => openSocket(gateway, "2.0.0", tokenOf(role));
    const [none, present, all] = [await open("none"), await open("present"), await open("reader")];
    expect(await none.join(room, config({}))).toMatchObject({
      response: { reason: expect.stringContaining("Unauthorized:") as unknown },
    });
    expect(await present.join(room, config({ since: 5 }))).toEqual(okJoin);
    expect(await all.join(room, config({ since: 5, limit: 100 }))).toEqual(okJoin);
    for (const socket of [present, all]) await socket.settled();
    expect(asked).toEqual([["room", "reader", 5, 25]]);
    expect([present.broadcasts(), all.broadcasts()]).toEqual([[], [replayed("1")]]);
  });
});

describe("a channel with a replay", () => {
  const open = async (gateway: TestGateway, vsn: "1.0.0" | "2.0.0" = "2.0.0"): Promise<TestSocket> => {
    const socket = await openSocket(gateway, vsn);
    expect(await socket.join(room, config({ since: 5 }))).toEqual(okJoin);
    return socket;
  };

  it("gets it after the answer to its join, in both serializers, and then what is live, without copies", async () => {
    const { log, append } = await createLog();
    await append("0");
    const readHistory = historyOf({ messages: [json("1"), binary, json("2")], upTo: toLsn(28n) });
    const gateway = await startTestGateway({ readHistory, changeLog: log });
    const [one, two] = [await open(gateway, "1.0.0"), await open(gateway)];
    for (const id of ["1", "2", "3", "4"]) await append(id);
    await append("5");
    const ready = ({ frames }: TestSocket): boolean =>
      JSON.stringify(frames).includes('"n":"5"') ||
      frames.some((frame) => Array.isArray(frame) && String(frame[3]) === '{"n":"5"}');
    await expect.poll(() => ready(one) && ready(two)).toBe(true);
    const live = (id: string): object => ({ type: "broadcast", event: "e", payload: { n: id }, meta: { id } });
    expect(one.broadcasts()).toEqual([replayed("1"), replayed("2"), live("3"), live("4"), live("5")]);
    expect(two.frames).toEqual([
      ["j", null, room, "broadcast", replayed("1")],
      [room, "bytes", 0, Buffer.of(0, 255), meta("b")],
      ["j", null, room, "broadcast", replayed("2")],
      ...["3", "4", "5"].map((id) => [room, "e", 1, Buffer.from(`{"n":"${id}"}`), { id }]),
    ]);
    expect(await gateway.metric('walcast_gateway_broadcasts_dropped_total{reason="binaryPayload"}')).toBe(1);
  });

  it("hears others, and not itself, as long as it is told singly and after", async () => {
    const { log, append } = await createLog();
    const gateway = await startTestGateway({ readHistory: historyOf({ upTo: toLsn(8n) }), changeLog: log });
    const [one, two] = [await open(gateway), await open(gateway)];
    const say = async (): Promise<void> => {
      for (const socket of [one, two]) socket.send(room, "broadcast", text);
      for (const socket of [one, two]) await socket.settled();
    };
    await say();
    expect([one.broadcasts(), two.broadcasts()]).toEqual([[text], [text]]);
    await append("1");
    await expect.poll(() => one.broadcasts().length + two.broadcasts().length).toBe(4);
    await say();
    expect([one.broadcasts().length, two.broadcasts().length]).toEqual([3, 3]);
    expect(await gateway.metric("walcast_gateway_broadcast_deliveries_total")).toBe(6);
    one.close();
    two.close();
    await expect.poll(() => gateway.metric("walcast_gateway_rooms")).toBe(0);
  });

  it("whose join is held reads again for another token, and ends when that cannot be done", async () => {
    const asked: unknown[] = [];
    const readHistory: ReadHistory = ({ claims }) => {
      asked.push(claims?.role);
      if (claims?.role === "third") return Promise.reject(new Error("no database"));
      return Promise.resolve({ messages: [json("1")], upTo: toLsn(0n) });
    };
    const gateway = await startTestGateway({ env, channelRights: policies({}).rights, readHistory });
    const socket = await openSocket(gateway, "2.0.0", tokenOf("first"));
    const join = socket.join(room, {
      ...config({ since: 5 }),
      postgres_changes: [{ event: "*", schema: "public", table: "t" }],
      postgres_changes_options: { wait: true },
    });
    socket.send(room, "access_token", { access_token: tokenOf("second") });
    await socket.settled();
    expect([asked, socket.frames]).toEqual([["first", "second"], []]);
    socket.send(room, "access_token", { access_token: tokenOf("third") });
    const reason = "RealtimeDisabledForConfiguration: UnableToReplayMessages: Realtime was unable to replay messages";
    expect(await join).toEqual(refusal(reason));
    expect(await gateway.metric("walcast_gateway_rooms")).toBe(0);
  });

  it("leaves nothing behind where the answer to its join cannot be written", async () => {
    const gateway = await startTestGateway({ readHistory: historyOf({ upTo: toLsn(8n) }) });
    const socket = await openSocket(gateway);
    const nested = `{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`;
    const joined = JSON.stringify(config({ since: 5 }, { postgres_changes: ["nested"] }));
    socket.sendRaw(`["j","1","${room}","phx_join",{"config":${joined.replace('"nested"', nested)}}]`);
    await socket.settled();
    expect(await gateway.metric("walcast_gateway_malformed_frames_total")).toBe(1);
    expect(await gateway.metric("walcast_gateway_rooms")).toBe(0);
  });

  it("ends with its room when it leaves before that", async () => {
    const gateway = await startTestGateway({ readHistory: historyOf({ upTo: toLsn(8n) }) });
    const socket = await open(gateway);
    socket.send(room, "phx_leave", {});
    await socket.settled();
    expect(await gateway.metric("walcast_gateway_rooms")).toBe(0);
  });
});

describe("replication_ready", () => {
  it("is not said while nothing of the database can be heard of", async () => {
    const gateway = await startTestGateway();
    const socket = await openSocket(gateway);
    expect(await socket.join(room, { broadcast: { replication_ready: true } })).toEqual(okJoin);
    await socket.settled();
    expect(socket.frames).toEqual([]);
  });
});
