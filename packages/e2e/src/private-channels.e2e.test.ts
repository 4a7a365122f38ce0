import { createRequire } from "node:module";
import { migrate } from "@walcast/realtime-schema";
import { waitUntil } from "@walcast/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Cluster } from "./cluster.ts";
import { gate, privateToken, startPrivate } from "./private-cluster.ts";
import { openRaw, type RawSocket } from "./raw-socket.ts";

// Published clients in private channels, with policies on realtime.messages, and a gateway that connects as the role that
// the README's recipe makes: by itself it may read nothing.

const require = createRequire(import.meta.url);
let cluster: Cluster;
const cleanups: (() => unknown)[] = [];
afterEach(() => cleanups.splice(0).forEach((cleanup) => void cleanup()));

/** A token's `may` says what its user may do, as "broadcast read"; only in rooms. */
const policies = `
  GRANT USAGE ON SCHEMA realtime TO private_user;
  GRANT SELECT, INSERT ON realtime.messages TO private_user;
  CREATE FUNCTION public.may(what text) RETURNS boolean STABLE LANGUAGE sql AS $$
    SELECT current_setting('request.jwt.claims', true)::jsonb -> 'may' ? what
       AND current_setting('realtime.topic', true) LIKE 'room%' $$;
  CREATE POLICY reading ON realtime.messages FOR SELECT TO private_user
    USING (realtime.topic() = topic AND may(extension || ' read'));
  CREATE POLICY writing ON realtime.messages FOR INSERT TO private_user
    WITH CHECK (realtime.topic() = topic AND may(extension || ' write'));
  CREATE POLICY broken ON realtime.messages FOR SELECT TO private_user
    USING (CASE WHEN current_setting('request.jwt.claims')::jsonb ->> 'sub' = 'broken' THEN 1 / (length(topic) - length(topic)) = 1 ELSE false END)`;

const everything = ["broadcast read", "broadcast write", "presence read", "presence write"] as const;
type May = (typeof everything)[number];

let issued = 0;
const token = (may: readonly May[], more: object = {}): Promise<string> =>
  privateToken({ sub: `user ${++issued}`, may, ...more });

interface AnyChannel {
  on(type: string, filter: object, callback: (message: never) => void): AnyChannel;
  subscribe(callback: (status: string, error?: Error) => void): AnyChannel;
  send(message: object): Promise<string>;
  track(state: object): Promise<string>;
  presenceState(): Record<string, unknown>;
}
interface AnyClient {
  connect(): void;
  disconnect(): unknown;
  setAuth(token: string): unknown;
  channel(topic: string, options: object): AnyChannel;
}
const versions = ["2.10.0", "2.119.0"] as const;
type Version = (typeof versions)[number];

interface Joined {
  readonly channel: AnyChannel;
  readonly client: AnyClient;
  readonly heard: unknown[];
  readonly system: string[];
  readonly statuses: string[];
  readonly errors: string[];
}

async function open(
  version: Version,
  {
    may,
    topic = "room",
    isPrivate = true,
    more = {},
  }: {
    readonly may: readonly May[];
    readonly topic?: string;
    readonly isPrivate?: boolean;
    readonly more?: object;
  },
): Promise<Joined> {
  const { RealtimeClient } = require(`realtime-js-${version}`) as {
    RealtimeClient: new (url: string, options: object) => AnyClient;
  };
  const apikey = await token(may, more);
  const client = new RealtimeClient(cluster.url, {
    params: { apikey, eventsPerSecond: 1_000_000 },
    logger: () => undefined,
  });
  cleanups.push(() => client.disconnect());
  client.connect();
  const config = { private: isPrivate, broadcast: { ack: true, self: false }, presence: { key: `key ${issued}` } };
  const channel = client.channel(topic, { config });
  const joined: Joined = { channel, client, heard: [], system: [], statuses: [], errors: [] };
  channel.on("broadcast", { event: "*" }, ({ payload }: { payload: unknown }) => joined.heard.push(payload));
  channel.on("presence", { event: "sync" }, () => undefined);
  channel.on("system", {}, ({ message }: { message: string }) => joined.system.push(message));
  channel.subscribe((status, error) => {
    joined.statuses.push(status);
    if (error !== undefined) joined.errors.push(error.message);
  });
  await waitUntil(() => joined.statuses.length > 0, { what: `${version} to be answered` });
  return joined;
}

const say = (joined: Joined, text: string): Promise<string> =>
  joined.channel.send({ type: "broadcast", event: "said", payload: { text } });
const hears = (joined: Joined, text: string): Promise<unknown> =>
  waitUntil(() => JSON.stringify(joined.heard).includes(`"${text}"`), { what: `'${text}' to be heard` });

describe.each(versions)("realtime-js %s in private channels", (version) => {
  beforeAll(async () => {
    cluster = await startPrivate();
    await migrate(cluster.sql, { gatewayRole: gate });
    await cluster.sql.query(policies);
  });
  afterAll(() => cluster.stop());

  it("reads and writes broadcasts as policies say, and is not told what it may not write", async () => {
    const all = await open(version, { may: everything });
    const reader = await open(version, { may: ["broadcast read"] });
    const present = await open(version, { may: ["presence read"] });
    expect([all.statuses, reader.statuses, present.statuses]).toEqual([["SUBSCRIBED"], ["SUBSCRIBED"], ["SUBSCRIBED"]]);
    void say(reader, "forbidden");
    expect(await say(all, "hello")).toBe("ok");
    await hears(reader, "hello");
    expect([JSON.stringify(all.heard), present.heard]).toEqual(["[]", []]);
  });

  it("tracks and sees presence as policies say", async () => {
    const all = await open(version, { may: everything, topic: "room of presence" });
    const watcher = await open(version, { may: ["presence read"], topic: "room of presence" });
    const listener = await open(version, { may: ["broadcast read"], topic: "room of presence" });
    void watcher.channel.track({ name: "forbidden" });
    expect(await all.channel.track({ name: "all" })).toBe("ok");
    await waitUntil(() => JSON.stringify(watcher.channel.presenceState()).includes('"all"'), { what: "the entry" });
    expect(JSON.stringify(watcher.channel.presenceState())).not.toContain("forbidden");
    expect(listener.channel.presenceState()).toEqual({});
  });

  it.each<[string, Parameters<typeof open>[1]]>([
    ["who may only write", { may: ["broadcast write", "presence write"] }],
    ["another topic", { may: everything, topic: "hall" }],
    ["a role that PostgreSQL does not know", { may: everything, more: { role: "nobody_at_all" } }],
    ["a role that the gateway was not granted", { may: everything, more: { role: "postgres" } }],
    ["a policy that raises", { may: [], more: { sub: "broken" } }],
  ])("is refused for %s, with the peer's words", async (_, given) => {
    const { statuses, errors } = await open(version, given);
    expect(statuses[0]).toBe("CHANNEL_ERROR");
    const sentence = `You do not have permissions to read from this Channel topic: ${given.topic ?? "room"}`;
    expect(errors[0]).toContain(`Unauthorized: ${sentence}`);
  });

  it("gains with a new token, and ends with one that has less", async () => {
    const topic = "room of tokens";
    const writer = await open(version, { may: everything, topic });
    const gaining = await open(version, { may: ["presence read"], topic });
    const losing = await open(version, { may: everything, topic });
    const without = await open(version, { may: ["broadcast read"], topic });
    await gaining.client.setAuth(await token(everything));
    await losing.client.setAuth(await token(["broadcast read"]));
    await without.client.setAuth(await token([]));
    await waitUntil(() => losing.statuses.includes("CLOSED") && without.statuses.includes("CLOSED"), {
      what: `the channels to be closed: ${losing.statuses.join()}; ${without.statuses.join()}`,
    });
    expect(losing.system.at(-1)).toBe(`You no longer have permission to read from this Channel topic: ${topic}`);
    expect(without.system.at(-1)).toBe(`You do not have permissions to read from this Channel topic: ${topic}`);
    await waitUntil(
      async () => {
        await say(writer, "hello");
        return gaining.heard.length > 0;
      },
      { what: "what the new token may hear" },
    );
    expect([losing.heard, without.heard]).toEqual([[], []]);
    expect(await say(gaining, "from the new token")).toBe("ok");
  });

  it("keeps a private and a public channel of one topic apart", async () => {
    const topic = "room of two";
    const hidden = await open(version, { may: everything, topic });
    const open1 = await open(version, { may: [], topic, isPrivate: false });
    const hidden2 = await open(version, { may: everything, topic });
    expect(open1.statuses).toEqual(["SUBSCRIBED"]);
    expect(await say(hidden, "among us")).toBe("ok");
    expect(await say(open1, "to everybody")).toBe("ok");
    await hears(hidden2, "among us");
    expect(JSON.stringify([hidden.heard, hidden2.heard])).not.toContain("to everybody");
    expect(open1.heard).toEqual([]);
  });
});

describe("without schema realtime", () => {
  beforeAll(async () => void (cluster = await startPrivate()));
  afterAll(() => cluster.stop());

  it("private channels are refused, the log says what to do, and public ones work", async () => {
    const refused = await open("2.119.0", { may: everything });
    expect(refused.statuses[0]).toBe("CHANNEL_ERROR");
    expect(refused.errors[0]).toContain("Realtime was unable to connect to the project database");
    expect(cluster.gateways[0]?.process.failure("").message).toContain("run `walcast migrate`");
    const socket: RawSocket = await openRaw(cluster.url, { vsn: "2.0.0", apikey: await token([]) });
    cleanups.push(() => socket.end());
    socket.send(["1", "1", "realtime:room", "phx_join", { config: {} }]);
    await socket.next((frame) => JSON.stringify(frame).includes('"status":"ok"'), "the answer to a public join");
  });
});
