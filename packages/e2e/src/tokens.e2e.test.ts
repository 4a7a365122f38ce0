import { SignJWT } from "jose";
import { waitUntil } from "@walcast/testkit";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { startCluster, type Cluster } from "./cluster.ts";
import { createRole } from "./database-roles.ts";
import { openRaw, refusedUpgrade } from "./raw-socket.ts";
import { clientVersions, connectClient, isSubscribed } from "./realtime-clients.ts";

const secret = "a-secret-of-at-least-32-characters!!";
let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    env: { SECURE_CHANNELS: "true", JWT_SECRET: secret },
  });
  await cluster.sql.query(`CREATE TABLE todos (id int PRIMARY KEY); ${createRole("authenticated", "todos")}`);
});
afterAll(() => cluster.stop());

const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds;
const sign = (claims: Record<string, unknown>, key = secret): Promise<string> =>
  new SignJWT(claims).setProtectedHeader({ alg: "HS256", typ: "JWT" }).sign(new TextEncoder().encode(key));
const good = (): Promise<string> => sign({ role: "authenticated", exp: inSeconds(600) });

describe("at connect", () => {
  const cases: [string, () => Promise<Record<string, string>>, number, string][] = [
    ["no token", () => Promise.resolve({}), 401, "API key is missing"],
    ["garbage", () => Promise.resolve({ apikey: "garbage" }), 401, "The token provided is not a valid JWT"],
    [
      "an expired token",
      async () => ({ apikey: await sign({ role: "anon", exp: inSeconds(-5) }) }),
      401,
      "Token has expired",
    ],
    [
      "a token without role",
      async () => ({ apikey: await sign({ exp: inSeconds(60) }) }),
      401,
      "Fields `role` and `exp` are required in JWT",
    ],
    [
      "another secret's",
      async () => ({ apikey: await sign({ role: "anon", exp: inSeconds(60) }, "other") }),
      401,
      "Failed to validate JWT signature",
    ],
  ];
  it.each(cases)("%s is refused", async (_name, query, status, error) => {
    expect(await refusedUpgrade(cluster.url, await query())).toEqual({ status, body: JSON.stringify({ error }) });
  });
});

describe("at join", () => {
  const cases: [string, () => Promise<string>, string | RegExp][] = [
    [
      "expired",
      () => sign({ role: "anon", exp: inSeconds(-100) }),
      /^InvalidJWTToken: Token has expired 10\d seconds ago$/,
    ],
    ["without exp", () => sign({ role: "anon" }), "InvalidJWTToken: Fields `role` and `exp` are required in JWT"],
    ["garbage", () => Promise.resolve("garbage"), "MalformedJWT: The token provided is not a valid JWT"],
    [
      "another secret's",
      () => sign({ role: "anon", exp: inSeconds(60) }, "other"),
      "JwtSignatureError: Failed to validate JWT signature",
    ],
  ];
  it.each(cases)("%s", async (_name, token, reason) => {
    const socket = await openRaw(cluster.url, { apikey: await good() });
    for (const [ref, payload] of [
      ["1", { config: {}, access_token: await token() }],
      ["2", { user_token: await token() }],
    ] as const) {
      socket.send({ topic: "realtime:public:todos", event: "phx_join", payload, ref, join_ref: ref });
      const reply = await socket.next((frame) => (frame as { ref: string }).ref === ref, "the reply");
      expect(reply).toEqual({
        topic: "realtime:public:todos",
        event: "phx_reply",
        ref,
        payload: {
          status: "error",
          response: { reason: typeof reason === "string" ? reason : (expect.stringMatching(reason) as string) },
        },
      });
    }
    socket.end();
  });

  it("the connection's token serves when the join brings none, or an opaque key", async () => {
    const socket = await openRaw(cluster.url, { apikey: await good() });
    for (const [ref, payload] of Object.entries({
      1: { config: {} },
      2: { config: {}, access_token: "sb_publishable_x" },
    })) {
      socket.send({ topic: `realtime:${ref}`, event: "phx_join", payload, ref, join_ref: ref });
      expect(await socket.next((frame) => (frame as { ref: string }).ref === ref, "the reply")).toMatchObject({
        payload: { status: "ok" },
      });
    }
    socket.end();
  });
});

describe("while joined", () => {
  const joined = async (payload: object) => {
    const socket = await openRaw(cluster.url, { apikey: await good() });
    socket.send({ topic: "realtime:public:todos", event: "phx_join", payload, ref: "1", join_ref: "1" });
    await socket.next(() => true, "the join");
    return socket;
  };
  const refresh = (token: unknown) => ({
    topic: "realtime:public:todos",
    event: "access_token",
    payload: { access_token: token },
    ref: "2",
    join_ref: "1",
  });

  it("a bad new token ends a current channel with a reason, and a legacy one so that it comes back", async () => {
    const current = await joined({ config: {} });
    current.send(refresh("garbage"));
    await current.next((frame) => (frame as { event: string }).event === "phx_close", "the close");
    expect(current.frames.slice(1)).toEqual([
      {
        topic: "realtime:public:todos",
        event: "system",
        ref: null,
        payload: {
          extension: "system",
          status: "error",
          message: "The token provided is not a valid JWT",
          channel: "public:todos",
        },
      },
      { topic: "realtime:public:todos", event: "phx_close", ref: "1", payload: {} },
    ]);
    const legacy = await joined({});
    legacy.send(refresh("garbage"));
    expect(await legacy.next((frame) => (frame as { event: string }).event === "phx_error", "the error")).toMatchObject(
      { ref: "1" },
    );
    current.end();
    legacy.end();
  });

  it("a channel ends when its token does, unless a new one came", async () => {
    const short = async () => ({ config: {}, access_token: await sign({ role: "anon", exp: inSeconds(2) }) });
    const [ending, going] = [await joined(await short()), await joined(await short())];
    going.send(refresh(await good()));
    await ending.next((frame) => (frame as { event: string }).event === "phx_close", "the close");
    expect(ending.frames[1]).toMatchObject({
      event: "system",
      payload: { message: expect.stringMatching(/^Token has expired \d+ seconds ago$/) as string },
    });
    going.send({ topic: "realtime:nowhere", event: "settled", payload: {}, ref: "last" });
    await going.next((frame) => (frame as { ref: string }).ref === "last", "the last answer");
    expect(going.frames.map((frame) => (frame as { event: string }).event)).not.toContain("phx_close");
    ending.end();
    going.end();
  });
});

it.each(clientVersions)("realtime-js %s connects with its token and receives", async (version) => {
  const client = connectClient(version, cluster.url, await good());
  const subscription = client.subscribe({ table: "todos" });
  await waitUntil(() => isSubscribed(subscription), { what: "the subscription" });
  await cluster.sql.query("INSERT INTO todos SELECT coalesce(max(id), 0) + 1 FROM todos");
  await waitUntil(() => subscription.changes.length > 0, { what: "the change" });
  expect(subscription.changes.map(({ event }) => event)).toEqual(["INSERT"]);
  client.disconnect();
});
