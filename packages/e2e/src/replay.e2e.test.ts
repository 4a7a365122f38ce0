import { createRequire } from "node:module";
import { migrate } from "@walcast/realtime-schema";
import { waitUntil } from "@walcast/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { untilHealthy, type Cluster } from "./cluster.ts";
import { gate, privateToken, startPrivate } from "./private-cluster.ts";

// Published clients that ask for the broadcasts from before they joined, and to be told when broadcasts from the database
// reach them.

const require = createRequire(import.meta.url);
let cluster: Cluster;
const cleanups: (() => unknown)[] = [];
afterEach(() => cleanups.splice(0).forEach((cleanup) => void cleanup()));

/** `rooms` are those of the token; a message may be for one user alone. */
const policies = `
  GRANT USAGE ON SCHEMA realtime TO private_user;
  GRANT SELECT, INSERT ON realtime.messages TO private_user;
  CREATE FUNCTION public.claims() RETURNS jsonb STABLE LANGUAGE sql AS
    $$ SELECT current_setting('request.jwt.claims', true)::jsonb $$;
  CREATE POLICY reading ON realtime.messages FOR SELECT TO private_user
    USING (realtime.topic() = topic AND public.claims() -> 'rooms' ? topic
           AND coalesce(payload ->> 'for', public.claims() ->> 'sub') = public.claims() ->> 'sub')`;

interface Received {
  readonly type: string;
  readonly event: string;
  readonly payload: unknown;
  readonly meta?: { readonly replayed?: boolean; readonly id?: string };
}
interface AnyChannel {
  on(type: string, filter: object, callback: (message: never) => void): AnyChannel;
  subscribe(callback: (status: string, error?: Error) => void): AnyChannel;
}
interface AnyClient {
  connect(): void;
  disconnect(): unknown;
  setAuth(token: string): unknown;
  channel(topic: string, options: object): AnyChannel;
}
/** 2.81.0 speaks vsn 1.0.0. */
const versions = ["2.81.0", "2.119.0"] as const;

interface Joined {
  readonly received: Received[];
  readonly system: string[];
  readonly statuses: string[];
  readonly errors: string[];
  readonly client: AnyClient;
}

async function join(
  version: (typeof versions)[number],
  { sub = "ann", rooms = ["room"], topic = "room", config = {}, isPrivate = true } = {},
): Promise<Joined> {
  const { RealtimeClient } = require(`realtime-js-${version}`) as {
    RealtimeClient: new (url: string, options: object) => AnyClient;
  };
  const apikey = await privateToken({ sub, rooms });
  const client = new RealtimeClient(cluster.url, { params: { apikey }, logger: () => undefined });
  cleanups.push(() => client.disconnect());
  client.connect();
  const channel = client.channel(topic, { config: { private: isPrivate, broadcast: config } });
  const joined: Joined = { received: [], system: [], statuses: [], errors: [], client };
  channel.on("broadcast", { event: "*" }, (message: Received) => joined.received.push(message));
  channel.on("system", {}, ({ message }: { message: string }) => joined.system.push(message));
  channel.subscribe((status, error) => {
    joined.statuses.push(status);
    if (error !== undefined) joined.errors.push(error.message);
  });
  await waitUntil(() => joined.statuses.length > 0, { what: `${version} to be answered` });
  return joined;
}

const send = (payload: object, topic = "room"): Promise<unknown> =>
  cluster.sql.query("SELECT realtime.send($1, 'said', $2, true)", [JSON.stringify(payload), topic]);
const said = ({ received }: Joined): [n: unknown, isReplayed: boolean][] =>
  received.map(({ payload, meta }) => [(payload as { n?: unknown }).n, meta?.replayed === true]);
const clear = (): Promise<unknown> => cluster.sql.query("DELETE FROM realtime.messages");

describe.each(versions)("realtime-js %s", (version) => {
  beforeAll(async () => {
    cluster = await startPrivate();
    await migrate(cluster.sql, { gatewayRole: gate });
    await cluster.sql.query(policies);
  });
  afterAll(() => cluster.stop());

  it("gets the newest broadcasts from before it joined, the oldest first, and goes on with what is live", async () => {
    await clear();
    for (let n = 0; n < 30; n++) await send({ n });
    const since = Date.now() - 600_000;
    const all = await join(version, { config: { replay: { since } } });
    const few = await join(version, { config: { replay: { since, limit: 3 } } });
    const later = await join(version, { config: { replay: { since: Date.now() + 60_000 } } });
    const none = await join(version);
    await send({ n: 30 });
    for (const joined of [all, few, later, none]) {
      await waitUntil(() => said(joined).some(([n]) => n === 30), { what: "the live one" });
    }
    const numbers = (from: number): unknown[] => Array.from({ length: 30 - from }, (_, i) => [from + i, true]);
    expect(said(all)).toEqual([...numbers(5), [30, false]]);
    expect(said(few)).toEqual([...numbers(27), [30, false]]);
    expect([said(later), said(none)]).toEqual([[[30, false]], [[30, false]]]);
    const { rows } = await cluster.sql.query<{ id: string }>(
      "SELECT id FROM realtime.messages ORDER BY payload -> 'n' DESC",
    );
    expect(all.received.slice(-2)).toMatchObject([
      { type: "broadcast", event: "said", meta: { replayed: true, id: rows[1]?.id } },
      { type: "broadcast", event: "said", meta: { id: rows[0]?.id } },
    ]);
  });

  it("gets bytes where its version has a frame for them", async () => {
    await clear();
    await cluster.sql.query(String.raw`SELECT realtime.send_binary('\x00ff', 'bytes', 'room', true)`);
    await send({ n: 1 });
    const joined = await join(version, { config: { replay: { since: 0 } } });
    await waitUntil(() => joined.received.some(({ event }) => event === "said"), { what: "the other one" });
    const bytes = joined.received.filter(({ event }) => event === "bytes");
    if (version === "2.81.0") expect(bytes).toEqual([]);
    else {
      expect(bytes).toMatchObject([{ meta: { replayed: true } }]);
      expect(Buffer.from(bytes[0]?.payload as ArrayBuffer)).toEqual(Buffer.of(0, 255));
    }
  });

  it("gets nothing twice and misses nothing, whenever it joins while messages go on", async () => {
    await clear();
    const since = Date.now() - 60_000;
    let isOver = false;
    let sent = 0;
    const sending = (async (): Promise<void> => {
      while (!isOver) await send({ n: sent++ });
    })();
    const joined: { readonly one: Joined; readonly answeredAt: number }[] = [];
    for (let i = 0; i < 12; i++) {
      const one = await join(version, { sub: `user ${i}`, config: { replay: { since } } });
      joined.push({ one, answeredAt: sent });
    }
    isOver = true;
    await sending;
    for (const { one, answeredAt } of joined) {
      await waitUntil(() => said(one).some(([n]) => n === sent - 1), { what: "the last" });
      // What is older than the newest 25 may come live behind them: the log is read a little later than the table.
      const numbers = said(one)
        .map(([n]) => Number(n))
        .toSorted((x, y) => x - y);
      const [first = sent] = numbers;
      expect(numbers).toEqual(Array.from({ length: sent - first }, (_, n) => first + n));
      expect(first).toBeLessThan(answeredAt);
    }
  });

  it("is replayed nothing that its role may not select", async () => {
    await clear();
    const witness = await join(version);
    await send({ n: 1 });
    await send({ n: 2, for: "ann" });
    await send({ n: 3, for: "bob" });
    // Live ones are for all of the room: what is replayed is to be told from what the log brings a moment later.
    await waitUntil(() => said(witness).length === 3, { what: "the log to have brought them" });
    await send({ n: 4 }, "hall");
    const config = { replay: { since: 0 } };
    const ann = await join(version, { config });
    const bob = await join(version, { sub: "bob", config });
    const hall = await join(version, { rooms: ["hall"], topic: "hall", config });
    const nobody = await join(version, { rooms: ["hall"], config });
    await waitUntil(() => ann.received.length + bob.received.length + hall.received.length === 5, { what: "replays" });
    expect([said(ann), said(bob), said(hall)]).toEqual([
      [
        [1, true],
        [2, true],
      ],
      [
        [1, true],
        [3, true],
      ],
      [[4, true]],
    ]);
    expect([nobody.statuses[0], nobody.received]).toEqual(["CHANNEL_ERROR", []]);
    expect(nobody.errors[0]).toContain("Unauthorized: You do not have permissions to read");
  });

  it("is told what is wrong with what it asks for", async () => {
    const wrong = await join(version, { config: { replay: { since: "yesterday" } } });
    expect(wrong.errors[0]).toContain("UnableToReplayMessages: Replay params are not valid");
  });

  it("is told when broadcasts from the database reach it, and not before", async () => {
    const ready = "Replication connection established";
    const config = { replication_ready: true };
    const told = await join(version, { config });
    const untold = await join(version);
    await waitUntil(() => told.system.includes(ready), { what: "the message" });
    await cluster.ingesters[0]?.process.stop();
    const early = await join(version, { config });
    expect([early.statuses, early.system, untold.system]).toEqual([["SUBSCRIBED"], [], []]);
    await untilHealthy(await cluster.addIngester());
    await waitUntil(() => early.system.includes(ready), { what: "the message, with another ingester" });
    await send({ n: "after" });
    await waitUntil(() => said(early).length === 1, { what: "what was sent after" });
    expect(early.system).toEqual([ready]);
  });
});

describe("with a publication of some tables", () => {
  beforeAll(async () => {
    cluster = await startPrivate({
      schema: "CREATE TABLE held (id int PRIMARY KEY); CREATE PUBLICATION supabase_realtime FOR TABLE held",
    });
    await migrate(cluster.sql, { gatewayRole: gate });
    await cluster.sql.query(policies);
  });
  afterAll(() => cluster.stop());

  it("is not ready while the publication has no broadcasts", async () => {
    const joined = await join("2.119.0", { config: { replication_ready: true } });
    expect(joined.system).toEqual([]);
    await cluster.sql.query("ALTER PUBLICATION supabase_realtime ADD TABLE realtime.messages");
    await waitUntil(() => joined.system.length > 0, { what: "readiness" });
    expect(joined.system).toEqual(["Replication connection established"]);
  });
});
