import { waitUntil } from "@walcast/testkit";
import { SignJWT } from "jose";
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from "vitest";
import { WebSocket } from "ws";
import { startBalancer, type Balancer } from "./balancer.ts";
import { startCluster, untilHealthy, type Cluster } from "./cluster.ts";
import { createRole } from "./database-roles.ts";
import {
  connectMatrixClient,
  matrixClientNames,
  type MatrixBinding,
  type MatrixChannel,
  type MatrixClient,
  type MatrixClientName,
} from "./matrix-clients.ts";

// Where the rows of protocol.md §4 and §6 are tested with real clients. What follows is what no other file has.
//
// | Row                                                          | File                                                 |
// | ------------------------------------------------------------ | ---------------------------------------------------- |
// | 4.1 payload, 4.3 echo and ids                                | socket, protocol: join-payload, gateway: binding     |
// | 4.2 token, limit and policy refusals                         | tokens, limits, gateway: private-channel             |
// | 4.4 broadcast self, ack, size, private, bytes                | broadcast (2.0.0 to 2.119.0, supabase-js, phoenix)   |
// | 4.5 presence                                                 | presence (2.0.0 to 2.119.0, phoenix)                 |
// | 4.6 records by event and identity, schemas, legacy columns   | clients (1.3.3 to 2.119.0), filters                  |
// | 4.6 row level security, column privileges                    | row-security                                         |
// | 4.6 bindings by event, `select`, all tables                  | here                                                 |
// | 4.7 texts                                                    | filters, socket (by hand)                            |
// | 4.7 texts as clients show them                               | here                                                 |
// | 4.8 filters                                                  | filters, clients                                     |
// | 4.9 access_token: refused, expired                           | tokens (by hand)                                     |
// | 4.9 access_token of clients: accepted                        | here                                                 |
// | 4.10, 4.11 shutdowns and rates                               | limits                                               |
// | 4.12 wait                                                    | here, gateway: held-join                             |
// | 6.1, 6.2 HTTP broadcast                                      | broadcast (httpSend), gateway: http-broadcast        |
// | 8.1 leave, second join                                       | socket (by hand); leave of clients: here             |
// | 8.3 coming back: with a position, without one                | resume; here                                         |

const secret = "a-secret-of-at-least-32-characters!!";
const sign = (sub: string): Promise<string> =>
  new SignJWT({ role: "authenticated", sub, exp: Math.floor(Date.now() / 1000) + 600 })
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .sign(new TextEncoder().encode(secret));

let cluster: Cluster;
let balancer: Balancer;
beforeAll(async () => {
  cluster = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    gateways: 2,
    env: { SECURE_CHANNELS: "true", JWT_SECRET: secret, REDIS_URL: inject("redisUrl") },
  });
  await cluster.sql.query(
    `CREATE TABLE notes (id serial PRIMARY KEY, by text, body text); CREATE SCHEMA other;
     CREATE TABLE other.a (id serial PRIMARY KEY, by text); CREATE TABLE other.b (id serial PRIMARY KEY, by text);
     ${createRole("authenticated", "notes, other.a, other.b")}; GRANT USAGE ON SCHEMA other TO authenticated`,
  );
  balancer = await startBalancer(() => cluster.gateways.slice(0, 2).map(({ port }) => port));
});
afterAll(async () => {
  balancer.stop();
  await cluster.stop();
});

const clients: MatrixClient[] = [];
afterEach(() => clients.splice(0).forEach((client) => client.disconnect()));

const places = {
  "one gateway": () => cluster.gateways[0]?.port,
  "two behind a balancer": () => balancer.port,
} as const;
type Place = keyof typeof places;

async function connect(name: MatrixClientName, place: Place): Promise<MatrixClient> {
  const client = connectMatrixClient(name, `http://127.0.0.1:${places[place]()}`, await sign("first"));
  clients.push(client);
  return client;
}

const notes = { event: "*", schema: "public", table: "notes" } as const;
const isLegacy = (name: string): boolean => name.startsWith("realtime-js 1.");
const liveCount = ({ system }: MatrixChannel): number =>
  system.filter((message) => message === "Subscribed to PostgreSQL").length;
const live = (channel: MatrixChannel, times = 1): Promise<unknown> =>
  waitUntil(() => liveCount(channel) >= times, {
    what: `${times} subscriptions, there are ${JSON.stringify([channel.statuses, channel.system])}`,
  });
const until = (isSo: () => boolean, what: string, timeoutMs = 10_000): Promise<unknown> =>
  waitUntil(isSo, { what, timeoutMs });

/** What nobody else writes: tests share their tables. */
let writers = 0;
const writer = (): string => `writer ${++writers}`;

const everywhere = (Object.keys(places) as Place[]).flatMap((place) =>
  matrixClientNames.map((name) => [name, place] as const),
);

describe.each(everywhere)("%s at %s", (name, place) => {
  it("calls each binding back for its events, of one table and of a whole schema", async () => {
    const client = await connect(name, place);
    const by = writer();
    const filter = `by=eq.${by}`;
    const bindings: MatrixBinding[] = [
      { ...notes, filter },
      { schema: "other", event: "*", ...(isLegacy(name) ? {} : { table: "*" }) },
    ];
    // Legacy clients have one channel for a topic.
    if (!isLegacy(name)) bindings.push({ ...notes, event: "INSERT", filter }, { ...notes, event: "UPDATE", filter });
    const channel = client.channel("matrix", bindings);
    await live(channel, isLegacy(name) ? 2 : 1);
    await cluster.sql.query("INSERT INTO notes (by, body) VALUES ($1, 'a'), ('nobody', 'b')", [by]);
    await cluster.sql.query("UPDATE notes SET body = 'c' WHERE by IN ($1, 'nobody')", [by]);
    await cluster.sql.query("INSERT INTO other.a (by) VALUES ($1)", [by]);
    await cluster.sql.query("INSERT INTO other.b (by) VALUES ($1)", [by]);
    const [all, other, inserts, updates] = channel.received;
    await until(() => other?.length === 2 && all?.length === 2, "the changes");
    expect(all?.map(({ event, record }) => [event, record["by"], record["body"]])).toEqual([
      ["INSERT", by, "a"],
      ["UPDATE", by, "c"],
    ]);
    expect(other?.map(({ record }) => record["by"])).toEqual([by, by]);
    if (isLegacy(name)) return;
    expect(inserts?.map(({ event }) => event)).toEqual(["INSERT"]);
    expect(updates?.map(({ event }) => event)).toEqual(["UPDATE"]);
  });

  it("goes on with a new token", async () => {
    const client = await connect(name, place);
    const by = writer();
    const channel = client.channel("matrix", [{ ...notes, filter: `by=eq.${by}` }]);
    await live(channel);
    client.setToken(await sign("second"));
    await live(channel, 2);
    await cluster.sql.query("INSERT INTO notes (by) VALUES ($1)", [by]);
    await until(() => channel.received[0]?.length === 1, "the change");
    expect(channel.system.filter((message) => message !== "Subscribed to PostgreSQL")).toEqual([]);
  });

  it("leaves one channel and keeps the other", async () => {
    const client = await connect(name, place);
    const [left, kept] = [writer(), writer()];
    const [leaving, staying] = [left, kept].map((by, i) =>
      client.channel(`matrix-${i}`, [{ ...notes, filter: `by=eq.${by}` }]),
    );
    if (leaving === undefined || staying === undefined) throw new Error("two were made");
    await live(leaving);
    await live(staying);
    leaving.leave();
    for (const body of ["1", "2"]) {
      await cluster.sql.query("INSERT INTO notes (by, body) VALUES ($1, $3), ($2, $3)", [left, kept, body]);
    }
    await until(() => staying.received[0]?.length === 2, "the changes of the other channel");
    expect(leaving.received[0]).toEqual([]);
  });
});

const current = everywhere.filter(([name]) => !isLegacy(name));

describe.each(current)("%s at %s", (name, place) => {
  it("gets the columns it selects, and the key", async () => {
    const client = await connect(name, place);
    const by = writer();
    const channel = client.channel("matrix", [{ ...notes, filter: `by=eq.${by}`, select: ["body"] }]);
    await live(channel);
    await cluster.sql.query("INSERT INTO notes (by, body) VALUES ($1, 'a')", [by]);
    await until(() => channel.received[0]?.length === 1, "the change");
    expect(channel.received[0]?.[0]?.record).toEqual({ id: expect.any(Number) as number, body: "a" });
  });

  it.each<[string, Partial<MatrixBinding>, string]>([
    ["a filter that is none", { filter: "wrong" }, 'Error parsing `filter` params: ["wrong"]'],
    [
      "a table that is not there",
      { table: "nowhere" },
      "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given connect parameters: [event: *, schema: public, table: nowhere, filters: [], select: nil]",
    ],
  ])("is told of %s, and stays joined", async (_what, wrong, message) => {
    const client = await connect(name, place);
    const channel = client.channel("matrix", [{ ...notes, ...wrong }]);
    await until(() => channel.system.length > 0, "the message");
    expect(channel.system).toEqual([message]);
    expect(channel.statuses).toEqual(["SUBSCRIBED"]);
  });
});

/** Only these know of it, or send what they are given. */
const waiting = current.filter(([name]) => ["realtime-js 2.119.0", "supabase-js", "phoenix"].includes(name));

describe.each(waiting)("%s at %s, waiting for its changes", (name, place) => {
  const config = { postgres_changes_options: { wait: true, timeout: 5_000 } };

  it("is subscribed when it has joined: what is committed after that is there", async () => {
    const client = await connect(name, place);
    const by = writer();
    const channel = client.channel("matrix", [{ ...notes, filter: `by=eq.${by}` }], config);
    await until(() => channel.statuses.includes("SUBSCRIBED"), "the join");
    await cluster.sql.query("INSERT INTO notes (by) VALUES ($1)", [by]);
    await until(() => channel.received[0]?.length === 1, "the change");
    expect(channel.statuses).toEqual(["SUBSCRIBED"]);
  });

  it("is refused with what a message would have said", async () => {
    const client = await connect(name, place);
    const channel = client.channel("matrix", [{ ...notes, filter: "wrong" }], config);
    await until(() => channel.statuses.length > 0, "the refusal");
    const reason = 'RealtimeDisabledForConfiguration: Error parsing `filter` params: ["wrong"]';
    expect([channel.statuses[0], channel.system]).toEqual([`CHANNEL_ERROR ${reason}`, []]);
  });
});

describe.each(Object.keys(places) as Place[])("clients of every version at %s", (place) => {
  // Node.js 22's own tells nobody that a connection was refused (`error` without `close`), so that clients do not try again.
  const own = globalThis.WebSocket;
  beforeAll(() => void (globalThis.WebSocket = WebSocket as unknown as typeof own));
  afterAll(() => void (globalThis.WebSocket = own));

  it("come back when their gateway was killed, without a position", async () => {
    const by = writer();
    const channels = await Promise.all(
      matrixClientNames.map(async (name) => {
        const client = await connect(name, place);
        return { name, channel: client.channel("matrix", [{ ...notes, filter: `by=eq.${by}` }]) };
      }),
    );
    for (const { channel } of channels) await live(channel);
    const first = cluster.gateways.findLast(({ port }) => port === cluster.gateways[0]?.port);
    if (first === undefined) throw new Error("there is a gateway");
    const before = channels.map(({ channel }) => liveCount(channel));
    const isBack = (i: number): boolean => {
      const channel = channels[i]?.channel;
      return channel !== undefined && liveCount(channel) > (before[i] ?? 0);
    };
    await first.process.kill9();
    await untilHealthy(await cluster.addGateway({ PORT: String(first.port) }));
    // Behind the balancer every other one was on the gateway that was killed.
    const gone = place === "one gateway" ? channels.length : Math.floor(channels.length / 2);
    await until(() => channels.filter((_, i) => isBack(i)).length >= gone, "clients to come back", 30_000).catch(
      (cause: unknown) => {
        const away = channels
          .filter((_, i) => !isBack(i))
          .map(({ name, channel }) => [name, channel.statuses, channel.system]);
        throw new Error(`not back: ${JSON.stringify(away)}`, { cause });
      },
    );
    const isThere = ({ channel }: (typeof channels)[number]): boolean =>
      channel.received[0]?.some(({ record }) => record["by"] === by) === true;
    await cluster.sql.query("INSERT INTO notes (by) VALUES ($1)", [by]);
    await until(() => channels.every(isThere), "the change");
    expect(channels.map(({ channel }) => channel.received[0]?.length)).toEqual(channels.map(() => 1));
  });
});
