import { connect } from "node:net";
import { waitUntil } from "@walcast/testkit";
import { describe, expect, it } from "vitest";
import { allRights, type ChannelRights } from "./channel-rights.ts";
import {
  env,
  openSocket,
  policies,
  readOnly,
  room,
  startTestGateway,
  tokenOf,
  type TestGateway,
} from "./test-gateway.ts";

describe("POST /api/broadcast", () => {
  const post = async (
    { base }: TestGateway,
    body: unknown,
    {
      path = "/api/broadcast?apikey=ignored&vsn=2.0.0",
      headers = {},
    }: { path?: string; headers?: Record<string, string> } = {},
  ): Promise<{ status: number; body: string; headers: Headers }> => {
    const response = await fetch(base + path, {
      method: "POST",
      body: typeof body === "string" ? body : JSON.stringify(body),
      headers: { "content-type": "application/json", ...headers },
    });
    return { status: response.status, body: await response.text(), headers: response.headers };
  };
  const message = { topic: "room", event: "e", payload: { a: 1 } };

  it.each(["/api/broadcast", "/realtime/v1/api/broadcast"])(
    "%s reaches all members, public ones first",
    async (path) => {
      const gateway = await startTestGateway();
      const [one, two, secretive] = [
        await openSocket(gateway, "1.0.0"),
        await openSocket(gateway),
        await openSocket(gateway),
      ];
      await Promise.all([
        one.join(room),
        two.join(room),
        two.join("realtime:a:b"),
        secretive.join(room, { private: true }),
      ]);
      const messages = [
        { ...message, private: true },
        { ...message, id: "m1" },
        { topic: "a:b", event: "f", payload: {}, private: false },
      ];
      expect(await post(gateway, { messages }, { path })).toMatchObject({ status: 202, body: "" });
      for (const socket of [one, two, secretive]) await socket.settled();
      const first = { event: "e", payload: { a: 1 }, type: "broadcast", meta: { id: "m1" } };
      expect(one.broadcasts()).toEqual([first]);
      expect(two.broadcasts()).toEqual([first, { event: "f", payload: {}, type: "broadcast" }]);
      expect(secretive.broadcasts()).toEqual([{ event: "e", payload: { a: 1 }, type: "broadcast" }]);
    },
  );

  it("says what is wrong with a body, and sends nothing of it", async () => {
    const gateway = await startTestGateway({ env: { MAX_PAYLOAD_KB: "1" } });
    const socket = await openSocket(gateway);
    await socket.join(room);
    const large = { ...message, payload: { x: "x".repeat(2_000) } };
    expect(await post(gateway, "{")).toMatchObject({ status: 400, body: '{"message":"The body is not JSON"}' });
    expect(await post(gateway, {})).toMatchObject({ status: 422, body: `{"errors":{"messages":["can't be blank"]}}` });
    expect(await post(gateway, { messages: [message, { topic: "room" }] })).toMatchObject({
      status: 422,
      body: `{"errors":{"messages":[{},{"event":["can't be blank"],"payload":["can't be blank"]}]}}`,
    });
    expect(await post(gateway, { messages: [large] })).toMatchObject({
      status: 422,
      body: '{"errors":{"messages":[{"payload":["Payload size exceeds tenant limit"]}]}}',
    });
    expect(await post(gateway, { messages: [], padding: "x".repeat(8_100_000) })).toMatchObject({
      status: 413,
      body: '{"message":"The body is above 8000000 bytes"}',
    });
    await socket.settled();
    expect(socket.frames).toEqual([]);
  });

  it("wants a token, in either header, and drops private messages that it may not write", async () => {
    const { rights, asked } = policies({ reader: readOnly });
    const gateway = await startTestGateway({ env, channelRights: rights });
    const socket = await openSocket(gateway, "2.0.0", tokenOf("anon"));
    await socket.join(room, { private: true });
    asked.length = 0;
    const refused = { status: 401, body: '{"message":"Unauthorized"}' };
    const messages = [{ ...message, private: true }, { ...message, private: true }, message];
    const attempts: [Record<string, string>, object][] = [
      [{}, refused],
      [{ authorization: "Bearer x", apikey: tokenOf("anon") }, refused],
      [{ authorization: `Basic ${tokenOf("anon")}` }, refused],
      [{ authorization: `Bearer ${tokenOf("anon", 1)}` }, refused],
      [{ authorization: `bEARER ${tokenOf("anon")}` }, { status: 202 }],
      [
        { authorization: "", apikey: tokenOf("reader") },
        { status: 202, body: "" },
      ],
    ];
    for (const [headers, expected] of attempts)
      expect(await post(gateway, { messages }, { headers })).toMatchObject(expected);
    await socket.settled();
    expect(socket.broadcasts()).toHaveLength(2);
    expect(asked).toEqual(["anon room", "reader room"]);
    expect(await gateway.metric('walcast_gateway_broadcasts_dropped_total{reason="denied"}')).toBe(2);
  });

  it("tells of the rate in headers, and refuses what is above it", async () => {
    const gateway = await startTestGateway({ env: { TENANT_MAX_EVENTS_PER_SECOND: "2" } });
    const messages = Array.from({ length: 2 }, () => message);
    const rate = ({ headers }: { headers: Headers }): unknown[] =>
      ["x-rate-rolling", "x-rate-limit", "x-rate-limit-remaining"].map((name) => headers.get(name));
    const reduce = { message: "Too many messages to broadcast, please reduce the batch size" };
    expect(await post(gateway, { messages: [...messages, message] })).toMatchObject({
      status: 429,
      body: JSON.stringify(reduce),
    });
    const answers = [];
    for (let i = 0; i < 20; i++) answers.push(await post(gateway, { messages }));
    expect(rate(answers[0] ?? { headers: new Headers() })).toEqual(["0", "2", "2"]);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202, 429]));
    const single = (): Promise<Response> => fetch(`${gateway.base}/api/broadcast/room/events/e`, { method: "POST" });
    await waitUntil(async () => (await single()).status === 429, { what: "the limit" });
    const last = await post(gateway, { messages });
    expect([last.status, last.body]).toEqual([429, '{"message":"Too many requests"}']);
    expect(rate(last)).toEqual(["2", "2", "0"]);
  });

  it("is for any origin", async () => {
    const gateway = await startTestGateway();
    for (const path of ["/api/broadcast", "/realtime/v1/api/broadcast/a/events/b"]) {
      const asked = await fetch(gateway.base + path, {
        method: "OPTIONS",
        headers: { origin: "https://app.example", "access-control-request-headers": "authorization,x-own" },
      });
      expect([asked.status, asked.headers.get("access-control-allow-origin")]).toEqual([204, "*"]);
      expect(asked.headers.get("access-control-allow-headers")).toBe("authorization,x-own");
      expect(asked.headers.get("access-control-allow-methods")).toBe("POST, OPTIONS");
      expect((await post(gateway, "{", { path })).headers.get("access-control-allow-origin")).toBe("*");
    }
    expect((await fetch(`${gateway.base}/api/broadcast`)).status).toBe(404);
  });

  it("survives requests that end in the middle", async () => {
    const gateway = await startTestGateway();
    const socket = await openSocket(gateway);
    await socket.join(room);
    for (const start of ['{"messages":[', ""]) {
      const client = connect(Number(new URL(gateway.base).port), "127.0.0.1");
      await new Promise((resolve) => client.once("connect", resolve));
      client.write(`POST /api/broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n${start}`);
      await socket.settled();
      client.resetAndDestroy();
      await socket.settled();
    }
    expect((await post(gateway, { messages: [message] })).status).toBe(202);
  });
});

describe("POST /api/broadcast/:topic/events/:event", () => {
  const post = async (
    { base }: TestGateway,
    path: string,
    {
      body = "{}",
      headers = { "content-type": "application/json" },
    }: { body?: string | Uint8Array<ArrayBuffer>; headers?: Record<string, string> } = {},
  ): Promise<{ status: number; body: string }> => {
    const response = await fetch(`${base}/api/broadcast/${path}`, {
      method: "POST",
      body: typeof body === "string" ? new TextEncoder().encode(body) : body,
      headers,
    });
    return { status: response.status, body: await response.text() };
  };

  it("sends JSON and bytes, whatever topic and event are called", async () => {
    const gateway = await startTestGateway();
    const [one, two] = [await openSocket(gateway, "1.0.0"), await openSocket(gateway)];
    const [topic, event] = ["a:b/c d?é", "e/1 %"];
    await Promise.all([one.join(`realtime:${topic}`), two.join(`realtime:${topic}`)]);
    const path = `${encodeURIComponent(topic)}/events/${encodeURIComponent(event)}`;
    const bytes = { "content-type": "application/octet-stream" };
    const bodies: [string | Uint8Array<ArrayBuffer>, Record<string, string>][] = [
      ['{"n": 9007199254740993}', { "content-type": "Application/JSON; charset=utf-8" }],
      ['{"a":1}', {}],
      ["", {}],
      ["[1]", { "content-type": "application/json" }],
      ["7", { "content-type": "application/json" }],
      [Uint8Array.of(0, 255), bytes],
      [new Uint8Array(), bytes],
    ];
    for (const [body, headers] of bodies)
      expect(await post(gateway, `${path}?persist=true&more=1`, { body, headers })).toEqual({ status: 202, body: "" });
    await one.settled();
    await two.settled();
    const json = ['{"n": 9007199254740993}', '{"a":1}', "{}", '{"_json":[1]}', '{"_json":7}'];
    expect(two.broadcasts()).toEqual([
      ...json.map((body) => [`realtime:${topic}`, event, 1, Buffer.from(body)]),
      [`realtime:${topic}`, event, 0, Buffer.of(0, 255)],
      [`realtime:${topic}`, event, 0, Buffer.of()],
    ]);
    expect(one.broadcasts()).toEqual(
      json.map((body) => ({ event, payload: JSON.parse(body) as unknown, type: "broadcast" })),
    );
  });

  it("says what is wrong with a request", async () => {
    const { rights } = policies({ reader: readOnly, lost: "failure" });
    const gateway = await startTestGateway({ env: { ...env, MAX_PAYLOAD_KB: "1" }, channelRights: rights });
    const json = { "content-type": "application/json" };
    const anon = { ...json, apikey: tokenOf("anon") };
    const attempts: [string, { body?: string; headers: Record<string, string> }, number, object][] = [
      [
        "t/events/e",
        { headers: { "content-type": "text/plain" } },
        415,
        {
          error: "Unsupported Media Type. Use application/json or application/octet-stream",
        },
      ],
      ["t/events/e", { headers: json }, 401, { message: "Unauthorized" }],
      ["t/events/e", { headers: anon, body: "{" }, 400, { message: "The body is not JSON" }],
      ["%ff/events/e", { headers: anon }, 400, { message: "The path is not URL-encoded" }],
      [
        "t/events/e",
        { headers: anon, body: JSON.stringify("x".repeat(2_000)) },
        422,
        {
          errors: { payload: ["Payload size exceeds tenant limit"] },
        },
      ],
      [
        "t/events/e?private=true",
        { headers: { ...json, apikey: tokenOf("reader") } },
        403,
        { message: "Unauthorized" },
      ],
      [
        "t/events/e?private=true",
        { headers: { ...json, apikey: tokenOf("lost") } },
        500,
        {
          message: "Unable to authorize broadcast",
        },
      ],
    ];
    for (const [path, request, status, body] of attempts)
      expect(await post(gateway, path, request)).toEqual({ status, body: JSON.stringify(body) });
    expect((await post(gateway, "t/events/e?private=true", { headers: anon })).status).toBe(202);
  });

  it("lets policies look at the request's headers, but not at credentials, and so does the batch", async () => {
    const asked: unknown[] = [];
    const channelRights: ChannelRights = ({ subtopic, headers }) => {
      asked.push([subtopic, headers?.["x-device"], headers?.["content-type"], JSON.stringify(headers).includes("eyJ")]);
      return Promise.resolve(allRights);
    };
    const gateway = await startTestGateway({ env, channelRights });
    const headers = { "x-device": "d1", "content-type": "application/json", cookie: "a=eyJ" };
    const [apikey, authorization] = [tokenOf("anon"), `Bearer ${tokenOf("anon")}`];
    const given = { headers: { ...headers, apikey } };
    expect((await post(gateway, "t/events/e?private=true", given)).status).toBe(202);
    const messages = [{ topic: "u", event: "e", payload: {}, private: true }];
    const response = await fetch(`${gateway.base}/api/broadcast`, {
      method: "POST",
      body: JSON.stringify({ messages }),
      headers: { ...headers, authorization },
    });
    expect(response.status).toBe(202);
    expect(asked).toEqual([
      ["t", "d1", "application/json", false],
      ["u", "d1", "application/json", false],
    ]);
  });

  it("keeps private ones among private channels", async () => {
    const gateway = await startTestGateway();
    const [open, secretive] = [await openSocket(gateway), await openSocket(gateway)];
    await Promise.all([open.join(room), secretive.join(room, { private: true })]);
    await post(gateway, "room/events/e?private=true");
    await open.settled();
    await secretive.settled();
    expect([open.broadcasts(), secretive.broadcasts()]).toEqual([[], [[room, "e", 1, Buffer.from("{}")]]]);
  });
});
