import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { waitUntil } from "@walcast/testkit";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { WebSocket } from "ws";
import { startCluster, type Cluster } from "./cluster.ts";
import { openRaw, refusedUpgrade, type RawSocket } from "./raw-socket.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ postgresUrl: inject("postgresUrl"), natsUrl: inject("natsUrl"), ingesters: 1 });
  await cluster.sql.query("CREATE TABLE todos (id int PRIMARY KEY, task text); CREATE TABLE other (id int)");
});
afterAll(() => cluster.stop());

const eventOf = (frame: unknown): unknown =>
  Array.isArray(frame) ? (frame as unknown[])[3] : (frame as { event: string }).event;
const payloadOf = (frame: unknown): unknown =>
  Array.isArray(frame) ? (frame as unknown[])[4] : (frame as { payload: unknown }).payload;
const heartbeat = { topic: "phoenix", event: "heartbeat", payload: {}, ref: "hb" };
const heartbeatReply = { topic: "phoenix", event: "phx_reply", payload: { status: "ok", response: {} }, ref: "hb" };

/** Everything the server said before it answered this, which waits for what was sent before; and that it still answers. */
async function settled(socket: RawSocket): Promise<unknown[]> {
  const ref = `settled-${randomBytes(4).toString("hex")}`;
  socket.send({ topic: "realtime:nowhere", event: "settled", payload: {}, ref });
  await socket.next((frame) => (frame as { ref?: unknown }).ref === ref, "the answer to it");
  return socket.frames.filter((frame) => !String((frame as { ref?: unknown }).ref).startsWith("settled-"));
}

const join = (
  topic: string,
  payload: unknown,
  refs: { ref: string; join_ref?: string } = { ref: "1", join_ref: "1" },
) => ({
  topic,
  event: "phx_join",
  payload,
  ...refs,
});
const changesOf = (table: string, more: object = {}) => ({
  config: { postgres_changes: [{ event: "*", schema: "public", table, ...more }] },
});

describe("both paths and serializers", () => {
  it("serve /socket/websocket and /realtime/v1/websocket, vsn 1.0.0 when none is asked for", async () => {
    for (const url of [cluster.url, cluster.url.replace("/socket", "/realtime/v1")]) {
      const socket = await openRaw(url, { apikey: "x" });
      socket.send(heartbeat);
      await socket.next(() => true, "an answer");
      expect(socket.frames).toEqual([heartbeatReply]);
      socket.end();
    }
  });

  it("speak vsn 2.0.0 in arrays, with the join_ref", async () => {
    const socket = await openRaw(cluster.url, { vsn: "2.0.0" });
    socket.send([null, "h", "phoenix", "heartbeat", {}]);
    socket.send(["5", "6", "realtime:room", "phx_join", changesOf("todos")]);
    await socket.next((frame) => eventOf(frame) === "system", "the system message");
    await cluster.sql.query("INSERT INTO todos VALUES (1, 'a')");
    await socket.next((frame) => eventOf(frame) === "postgres_changes", "the change");
    socket.send(["5", "7", "realtime:room", "phx_leave", {}]);
    await socket.next((frame) => eventOf(frame) === "phx_close", "the close");
    const id = (payloadOf(socket.frames[1]) as { response: { postgres_changes: { id: number }[] } }).response
      .postgres_changes[0]?.id;
    expect(id).toBeGreaterThan(0);
    expect(socket.frames).toEqual([
      [null, "h", "phoenix", "phx_reply", { status: "ok", response: {} }],
      [
        "5",
        "6",
        "realtime:room",
        "phx_reply",
        { status: "ok", response: { postgres_changes: [{ event: "*", schema: "public", table: "todos", id }] } },
      ],
      [
        "5",
        null,
        "realtime:room",
        "system",
        {
          extension: "postgres_changes",
          status: "ok",
          message: "Subscribed to PostgreSQL",
          channel: "room",
          position: expect.stringMatching(/^\d+\.[0-9A-F]+\/[0-9A-F]+\.\d+$/) as unknown, // ours: where resuming may begin
        },
      ],
      [
        null,
        null,
        "realtime:room",
        "postgres_changes",
        {
          ids: [id],
          data: {
            type: "INSERT",
            schema: "public",
            table: "todos",
            columns: [
              { name: "id", type: "int4" },
              { name: "task", type: "text" },
            ],
            commit_timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string,
            position: expect.stringMatching(/^\d+\.[0-9A-F]+\/[0-9A-F]+\.0$/) as string,
            record: { id: 1, task: "a" },
            errors: null,
          },
        },
      ],
      ["5", "7", "realtime:room", "phx_reply", { status: "ok", response: {} }],
      ["5", "5", "realtime:room", "phx_close", {}],
    ]);
    socket.end();
  });

  it("refuse any other version with 403 and nothing else", async () => {
    for (const vsn of ["3.0.0", "1.1.0", "two"]) {
      expect(await refusedUpgrade(cluster.url, { vsn })).toEqual({ status: 403, body: "" });
    }
  });
});

describe("channels", () => {
  it("answer what is not joined, and leave what is not joined", async () => {
    const socket = await openRaw(cluster.url);
    socket.send({ topic: "realtime:x", event: "broadcast", payload: {}, ref: "1" });
    socket.send({ topic: "realtime:x", event: "phx_leave", payload: {}, ref: "2" });
    socket.send({ topic: "elsewhere", event: "phx_join", payload: {}, ref: "3" });
    socket.send(join("realtime:", { config: {} }, { ref: "4" }));
    const reply = (ref: string, topic: string, status: string, response: object) => ({
      topic,
      event: "phx_reply",
      ref,
      payload: { status, response },
    });
    expect(await settled(socket)).toEqual([
      reply("1", "realtime:x", "error", { reason: "unmatched topic" }),
      reply("2", "realtime:x", "ok", {}),
      reply("3", "elsewhere", "error", { reason: "unmatched topic" }),
      reply("4", "realtime:", "error", { reason: "TopicNameRequired: You must provide a topic name" }),
    ]);
    socket.end();
  });

  it("answer a second join before they close the first, and ignore leaves and keep pushes of the first", async () => {
    const socket = await openRaw(cluster.url);
    socket.send(join("realtime:room", { config: {} }, { ref: "1", join_ref: "1" }));
    socket.send(join("realtime:room", { config: {} }, { ref: "2", join_ref: "2" }));
    socket.send({ topic: "realtime:room", event: "phx_leave", payload: {}, ref: "3", join_ref: "1" });
    socket.send({ topic: "realtime:room", event: "what_is_this", payload: {}, ref: "4", join_ref: "1" });
    const joined = { status: "ok", response: { postgres_changes: [] } };
    expect(await settled(socket)).toEqual([
      { topic: "realtime:room", event: "phx_reply", ref: "1", payload: joined },
      { topic: "realtime:room", event: "phx_reply", ref: "2", payload: joined },
      { topic: "realtime:room", event: "phx_close", ref: "1", payload: {} },
    ]);
    socket.end();
  });

  it("do not close the second legacy join of a client that sends no join_ref, and deliver once", async () => {
    const socket = await openRaw(cluster.url);
    socket.send(join("realtime:public:other", {}, { ref: "1" }));
    socket.send(join("realtime:public:other", {}, { ref: "2" }));
    await waitUntil(() => socket.frames.some((frame) => eventOf(frame) === "system"), { what: "the subscription" });
    await cluster.sql.query("INSERT INTO other VALUES (1)");
    await socket.next((frame) => eventOf(frame) === "INSERT", "the insert");
    const events = (await settled(socket)).map(eventOf);
    expect(events).not.toContain("phx_close");
    expect(events.filter((event) => event === "INSERT")).toHaveLength(1);
    socket.end();
  });

  it("deliver nothing after they were left", async () => {
    const socket = await openRaw(cluster.url);
    socket.send(join("realtime:a", changesOf("todos")));
    socket.send(join("realtime:b", changesOf("todos"), { ref: "2", join_ref: "2" }));
    await waitUntil(() => socket.frames.filter((frame) => eventOf(frame) === "system").length === 2, {
      what: "both subscriptions",
    });
    socket.send({ topic: "realtime:a", event: "phx_leave", payload: {}, ref: "3", join_ref: "1" });
    await settled(socket);
    await cluster.sql.query("INSERT INTO todos VALUES (100, 'after')");
    await socket.next((frame) => eventOf(frame) === "postgres_changes", "the change");
    const topics = (await settled(socket))
      .filter((frame) => eventOf(frame) === "postgres_changes")
      .map((frame) => (frame as { topic: string }).topic);
    expect(topics).toEqual(["realtime:b"]);
    socket.end();
  });
});

describe("bad parameters are told in a system message, after an ok join", () => {
  const unable = "Unable to subscribe to changes with given parameters.";
  it.each([
    [
      { table: "nowhere" },
      `${unable} Please check Realtime is enabled for the given connect parameters: [event: *, schema: public, table: nowhere, filters: [], select: nil]`,
    ],
    [{ table: "todos", filter: "wrong" }, 'Error parsing `filter` params: ["wrong"]'],
    [{ table: "todos", filter: "foo=hey" }, 'Error parsing `filter` params: ["foo", "hey"]'],
    [
      { table: "todos", filter: "id=in.1,2" },
      "Error parsing `filter` params: `in` filter value must be wrapped by parentheses",
    ],
    [
      { table: "todos", filter: "id=eq.1,,task=eq.a" },
      "Error parsing `filter` params: filter must not contain empty segments (check for extra commas)",
    ],
    [
      { table: "todos", filter: null },
      'No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: %{"event" => "*", "filter" => nil, "schema" => "public", "table" => "todos"}',
    ],
    [
      { table: "todos", filter: "notacolumn=eq.123" },
      `${unable} An exception happened so please check your connect parameters: [event: *, schema: public, table: todos, filters: [{"notacolumn", "eq", "123", false}], select: nil]. Exception: ERROR P0001 (raise_exception) invalid column for filter notacolumn`,
    ],
    [
      { table: "todos", filter: "id=eq.abc" },
      `${unable} An exception happened so please check your connect parameters: [event: *, schema: public, table: todos, filters: [{"id", "eq", "abc", false}], select: nil]. Exception: ERROR 22P02 (invalid_text_representation) invalid input syntax for type integer: "abc"`,
    ],
  ])("%j", async (parameters, message) => {
    const socket = await openRaw(cluster.url);
    socket.send(
      join("realtime:room", { config: { postgres_changes: [{ event: "*", schema: "public", ...parameters }] } }),
    );
    const system = await socket.next((frame) => eventOf(frame) === "system", "the system message");
    expect(payloadOf(socket.frames[0])).toMatchObject({ status: "ok" });
    expect(payloadOf(system)).toEqual({ extension: "postgres_changes", status: "error", message, channel: "room" });
    socket.end();
  });
});

describe("garbage costs its sender nothing but the frame", () => {
  it("drops frames that are none, of either serializer, and binary ones", async () => {
    for (const vsn of ["1.0.0", "2.0.0"]) {
      const socket = await openRaw(cluster.url, { vsn });
      const garbage = [
        "",
        "garbage",
        "[",
        "{}",
        "[]",
        "null",
        "1",
        '"text"',
        '{"topic":"a"}',
        "[1,2,3,4]",
        "[1,2,3,4,5]",
        "\u0000",
        "[".repeat(100_000),
      ];
      for (const text of garbage) socket.sendText(text);
      for (const bytes of [new Uint8Array(), randomBytes(10), randomBytes(100_000), new Uint8Array([3, 255, 255])])
        socket.sendBinary(bytes);
      socket.send(vsn === "1.0.0" ? heartbeat : [null, "hb", "phoenix", "heartbeat", {}]);
      await socket.next(() => true, "the heartbeat's answer");
      expect(socket.frames).toHaveLength(1);
      socket.end();
    }
  });

  it("takes refs of any kind and payloads of any kind", async () => {
    const socket = await openRaw(cluster.url);
    for (const payload of [
      null,
      1,
      "x",
      [],
      { config: null },
      { config: 1 },
      { config: { postgres_changes: "x" } },
      { config: { postgres_changes: [null, 1, []] } },
    ]) {
      socket.send({ topic: "realtime:odd", event: "phx_join", payload, ref: { odd: [1] }, join_ref: 7 });
    }
    socket.send({ topic: "realtime:odd", event: "access_token", payload: null, ref: null, join_ref: null });
    const frames = await settled(socket);
    expect(frames.filter((frame) => eventOf(frame) === "phx_reply")).toHaveLength(8);
    expect(frames[0]).toMatchObject({ event: "phx_reply", ref: { odd: [1] } });
    socket.end();
  });

  it("closes with 1009 above five million bytes, and only that connection", async () => {
    const [big, other] = [await openRaw(cluster.url), await openRaw(cluster.url)];
    big.sendText("x".repeat(6_000_000));
    expect(await big.close).toEqual({ code: 1009, reason: "frame above 5000000 bytes" });
    expect(await settled(other)).toEqual([]);
    other.end();
  });
});

it("compresses large frames for clients that offer it, where that is switched on", async () => {
  const gateway = await cluster.addGateway({ COMPRESS_ABOVE_BYTES: "100" });
  await waitUntil(async () => (await gateway.health()).status === "ok", { what: "the gateway that compresses" });
  const note = "many words ".repeat(1_000);
  const received = async (url: string, perMessageDeflate: boolean) => {
    const socket = new WebSocket(`${url}/websocket?vsn=1.0.0`, { perMessageDeflate });
    const texts: string[] = [];
    socket.on("message", (data: Buffer) => texts.push(data.toString("utf8")));
    await once(socket, "open");
    const bytes = (): number => (socket as unknown as { _socket: Socket })._socket.bytesRead;
    const join = {
      topic: "realtime:large",
      event: "phx_join",
      ref: "1",
      payload: { config: { broadcast: { self: true } } },
    };
    socket.send(JSON.stringify(join));
    await waitUntil(() => texts.some((text) => text.includes("phx_reply")), { what: "the reply" });
    const before = bytes();
    socket.send(
      JSON.stringify({ ...join, event: "broadcast", payload: { type: "broadcast", event: "e", payload: { note } } }),
    );
    const found = await waitUntil(() => texts.find((text) => text.includes(note)), { what: "the broadcast" });
    socket.close();
    return { isWhole: found.includes(note), bytes: bytes() - before };
  };
  const url = `ws://127.0.0.1:${gateway.port}/socket`;
  const [compressed, plain, off] = [
    await received(url, true),
    await received(url, false),
    await received(cluster.url, true),
  ];
  expect([compressed.isWhole, plain.isWhole, off.isWhole]).toEqual([true, true, true]);
  expect(compressed.bytes).toBeLessThan(1_000);
  expect(plain.bytes).toBeGreaterThan(11_000);
  expect(off.bytes).toBeGreaterThan(11_000);
});

describe("HTTP", () => {
  it("has health, readiness, metrics and a 404 that says where to go", async () => {
    const base = `http://127.0.0.1:${cluster.gateways[0]?.port}`;
    const get = async (path: string) => {
      const response = await fetch(base + path);
      return { status: response.status, body: await response.text() };
    };
    expect(await get("/healthcheck")).toEqual({ status: 200, body: "ok" });
    expect(await get("/api/ping?apikey=x")).toEqual({ status: 200, body: '{"message":"Success"}' });
    expect((await get("/healthz")).status).toBe(200);
    expect((await get("/readyz")).status).toBe(200);
    expect((await get("/metrics")).body).toContain("walcast_gateway_connections");
    expect((await get("/socket/websocket")).status).toBe(400);
    expect(await get("/nowhere")).toMatchObject({ status: 404 });
  });
});

it("closes a silent connection with 1000 after the idle timeout", async () => {
  const gateway = await cluster.addGateway({ IDLE_TIMEOUT_MS: "1000" });
  await waitUntil(async () => (await gateway.health()).status === "ok", { what: "the second gateway" });
  const socket = await openRaw(`ws://127.0.0.1:${gateway.port}/socket`);
  expect((await socket.close).code).toBe(1000);
});

it("tells each channel and closes with 1012 when the gateway stops", async () => {
  const gateway = await cluster.addGateway();
  await waitUntil(async () => (await gateway.health()).status === "ok", { what: "the third gateway" });
  const socket = await openRaw(`ws://127.0.0.1:${gateway.port}/socket`);
  socket.send(join("realtime:room", { config: {} }));
  await socket.next(() => true, "the join");
  const stopped = gateway.process.stop();
  expect((await socket.close).code).toBe(1012);
  expect(socket.frames.at(-1)).toEqual({
    topic: "realtime:room",
    event: "system",
    ref: null,
    payload: { extension: "system", status: "ok", message: "Server requested disconnect" },
  });
  expect(await stopped).toEqual({ code: 0, signal: undefined });
});
