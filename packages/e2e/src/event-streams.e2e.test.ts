import { waitUntil } from "@walcast/testkit";
import { SignJWT } from "jose";
import { afterEach, beforeEach, expect, inject, it } from "vitest";
import { settle, startCluster, untilHealthy, type Cluster } from "./cluster.ts";
import { createRole } from "./database-roles.ts";

const secret = "a-secret-of-at-least-32-characters!!";
let cluster: Cluster;
let token: string;
const stops: AbortController[] = [];

beforeEach(async () => {
  cluster = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    env: { SECURE_CHANNELS: "true", JWT_SECRET: secret },
  });
  await cluster.sql.query(
    `CREATE TABLE rows (id int8 PRIMARY KEY, note text, secret text); ${createRole("authenticated", "rows")}
     REVOKE SELECT ON rows FROM authenticated; GRANT SELECT (id, note) ON rows TO authenticated`,
  );
  token = await new SignJWT({ role: "authenticated" })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(secret));
});
afterEach(async () => {
  for (const stop of stops.splice(0)) stop.abort();
  await cluster.stop();
});

interface Event {
  readonly id: string | undefined;
  readonly event: string;
  readonly data: string;
}

/** What the stream brings, read as the HTML Standard says. */
async function open(
  port: number | undefined,
  query: string,
  lastEventId?: string,
): Promise<{ events: Event[]; type: string | null }> {
  const stop = new AbortController();
  stops.push(stop);
  const response = await fetch(`http://127.0.0.1:${port}/sse?${query}`, {
    signal: stop.signal,
    headers: {
      authorization: `Bearer ${token}`,
      ...(lastEventId === undefined ? {} : { "last-event-id": lastEventId }),
    },
  });
  const events: Event[] = [];
  void (async () => {
    let text = "";
    for await (const chunk of response.body ?? []) {
      text += Buffer.from(chunk as Uint8Array).toString();
      for (let end = text.indexOf("\n\n"); end !== -1; end = text.indexOf("\n\n")) {
        const lines = text.slice(0, end).split("\n");
        const fields = new Map(lines.map((line) => line.split(/: (.*)/s, 2) as [string, string]));
        text = text.slice(end + 2);
        const data = fields.has("data")
          ? lines.flatMap((line) => (line.startsWith("data: ") ? [line.slice("data: ".length)] : [])).join("\n")
          : undefined;
        if (data !== undefined) events.push({ id: fields.get("id"), event: fields.get("event") ?? "message", data });
      }
    }
  })().catch(() => undefined); // the test ends it
  return { events, type: response.headers.get("content-type") };
}
const changes = (events: readonly Event[]): Event[] => events.filter(({ event }) => event === "change");
const port = (n = 0): number | undefined => cluster.gateways[n]?.port;
const insert = (id: string): Promise<unknown> =>
  cluster.sql.query("INSERT INTO rows VALUES ($1, 'a note', 'secret')", [id]);

it("streams changes with filters and rights, digit by digit, and goes on after the last event elsewhere", async () => {
  const { events, type } = await open(port(), "table=rows&filter=id=gt.1");
  expect(type).toBe("text/event-stream; charset=utf-8");
  await waitUntil(() => events.some(({ data }) => data.includes("Subscribed to PostgreSQL")), {
    what: "the subscription",
  });
  for (const id of ["1", "2", "9007199254740993"]) await insert(id);
  await waitUntil(() => changes(events).length === 2, { what: "two changes" });
  expect(changes(events)[1]?.data).toContain('"record":{"id":9007199254740993,"note":"a note"}');
  expect(JSON.stringify(events)).not.toContain("secret");

  await cluster.gateways[0]?.process.kill9();
  const second = await cluster.addGateway();
  await untilHealthy(second);
  await insert("3");
  const again = await open(second.port, "table=rows&filter=id=gt.1", changes(events)[0]?.id);
  await waitUntil(() => changes(again.events).length === 2, { what: "what was missed" });
  // Cut off before that it would come back with this place, and must not have skipped what it missed.
  expect(again.events[0]).toMatchObject({ event: "system", id: changes(events)[0]?.id });
  await insert("4");
  await waitUntil(() => changes(again.events).length === 3, { what: "what came later" });
  expect(changes(again.events)[0]).toEqual(changes(events)[1]);
  expect(changes(again.events).map(({ data }) => /"id":(\d+)/.exec(data)?.[1])).toEqual(["9007199254740993", "3", "4"]);
});

it("brings a reader that paused the rest without anything more happening", async () => {
  const response = await fetch(`http://127.0.0.1:${port()}/sse?table=rows`, {
    headers: { apikey: token, "x-api-key": token },
  });
  const reader = (response.body ?? new ReadableStream<Uint8Array>()).getReader();
  stops.push({ abort: () => void reader.cancel() } as AbortController);
  let changes = 0;
  const readUntil = async (word: string): Promise<void> => {
    for (let rest = ""; !rest.includes(word);) {
      const { value, done } = await reader.read();
      if (done) throw new Error(`the stream ended: ${rest}`);
      const text = rest.slice(-100) + Buffer.from(value).toString();
      changes += text.split("event: change\n").length - rest.slice(-100).split("event: change\n").length;
      rest = text;
    }
  };
  await readUntil("Subscribed to PostgreSQL");
  await cluster.sql.query("INSERT INTO rows SELECT i, repeat('x', 1000) FROM generate_series(1, 30000) AS i");
  await settle(cluster, "INSERT INTO rows VALUES (30001, 'the last')");
  await readUntil('"the last"');
  expect(changes).toBe(30_001);
});

it("carries a broadcast whose JSON goes over several lines", async () => {
  const { events } = await open(port(), "topic=lines");
  const send = (): Promise<Response> =>
    fetch(`http://127.0.0.1:${port()}/api/broadcast/lines/events/e`, {
      method: "POST",
      headers: { apikey: token, "content-type": "application/json" },
      body: '{\r\n "a":\r"b"\n\n, "c": 1\n}',
    });
  const arrived = (): Event | undefined => events.find(({ event }) => event === "broadcast");
  await waitUntil(
    async () => {
      expect((await send()).status).toBe(202);
      return arrived() !== undefined;
    },
    { what: "the broadcast" },
  );
  expect(JSON.parse(arrived()?.data ?? "")).toMatchObject({ event: "e", payload: { a: "b", c: 1 } });
});

it("answers a bad token with its status, and a bad position with an event", async () => {
  const response = await fetch(`http://127.0.0.1:${port()}/sse?table=rows&apikey=nonsense`);
  expect([response.status, await response.json()]).toEqual([401, { error: "The token provided is not a valid JWT" }]);
  const { events } = await open(port(), "table=rows&from=yesterday");
  await waitUntil(() => events.length > 0, { what: "the error" });
  expect(events[0]).toMatchObject({
    event: "refused",
    data: expect.stringContaining("InvalidResumePosition") as unknown,
  });
});
