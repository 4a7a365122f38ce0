import { randomBytes } from "node:crypto";
import { startNats, startProxy, waitUntil } from "@walcast/testkit";
import { SignJWT } from "jose";
import { afterAll, afterEach, beforeAll, describe, expect, inject, it, vi } from "vitest";
import {
  broadcastClientNames,
  connectBroadcastClient,
  joinWithPhoenix,
  newerClientNames,
  speaksBinary,
  type BroadcastChannel,
  type BroadcastClient,
  type BroadcastClientName,
  type ChannelConfig,
} from "./broadcast-clients.ts";
import { startCluster, untilHealthy, untilProblem, type Cluster, type RunningService } from "./cluster.ts";

let cluster: Cluster;
let secured: RunningService;
const secret = "a-secret-of-at-least-32-characters!!";

beforeAll(async () => {
  cluster = await startCluster({ postgresUrl: inject("postgresUrl"), natsUrl: inject("natsUrl"), gateways: 2 });
  secured = await cluster.addGateway({ SECURE_CHANNELS: "true", JWT_SECRET: secret });
  await untilHealthy(secured);
});
afterAll(() => cluster.stop());

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

const baseOf = ({ port }: { readonly port: number }): string => `http://127.0.0.1:${port}`;
/** The first or the second of the open gateways. */
function gateway(index: number): string {
  const running = cluster.gateways[index % 2];
  if (running === undefined) throw new Error("two gateways were started");
  return baseOf(running);
}
const uniqueTopic = (): string => `room ${randomBytes(4).toString("hex")}`;

function connectTo(name: BroadcastClientName, base: string, apikey?: string): BroadcastClient {
  const client = connectBroadcastClient(name, base, apikey);
  ends.push(() => client.disconnect());
  return client;
}

async function join(
  name: BroadcastClientName,
  at: string,
  { topic, ...config }: { topic: string } & ChannelConfig,
): Promise<BroadcastChannel> {
  const channel = connectTo(name, at).channel(topic, config);
  await channel.join();
  return channel;
}

const received = (channel: BroadcastChannel, count: number): Promise<unknown> =>
  waitUntil(() => channel.received.length >= count, {
    what: `${count} broadcasts, there are ${channel.received.length}`,
  });

const bytesOf = (payload: unknown): readonly number[] => [...new Uint8Array(payload as ArrayBuffer)];

describe("clients of every version, on two gateways", () => {
  it("hear each other's broadcasts, each once, in the order of the sender, and not their own", async () => {
    const topic = uniqueTopic();
    const channels = await Promise.all(
      broadcastClientNames.flatMap((name, index) => [
        join(name, gateway(index), { topic }),
        join(name, gateway(index + 1), { topic }),
      ]),
    );
    const payloads = [{ text: 'ünïcode "🎈"', deep: { list: [1, null, 2.5] } }, {}];
    for (const [from, channel] of channels.entries()) {
      for (const payload of payloads) expect(await channel.send(`from ${from}`, payload)).toBe("ok");
    }
    for (const [to, channel] of channels.entries()) {
      await received(channel, payloads.length * (channels.length - 1));
      for (const from of channels.keys()) {
        const heard = channel.received.filter(({ event }) => event === `from ${from}`);
        const expected = payloads.map((payload) => ({ type: "broadcast", event: `from ${from}`, payload }));
        expect(heard).toEqual(from === to ? [] : expected);
      }
    }
  });

  it("send bytes to those who can take them", async () => {
    const topic = uniqueTopic();
    const named = await Promise.all(
      broadcastClientNames.map(async (name, index) => ({ name, channel: await join(name, gateway(index), { topic }) })),
    );
    const senders = named.filter(({ name }) => speaksBinary(name));
    const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i % 256);
    for (const { name, channel } of senders) expect(await channel.send(name, bytes.buffer)).toBe("ok");
    for (const { channel } of senders) expect(await channel.send("last", { done: true })).toBe("ok");
    for (const { name, channel } of named) {
      const others = senders.filter((sender) => sender.channel !== channel);
      const lasts = (): number => channel.received.filter(({ event }) => event === "last").length;
      await waitUntil(() => lasts() === others.length, { what: `${name} to hear the last ones` });
      const binary = channel.received.filter(({ event }) => event !== "last");
      expect(binary.map(({ event }) => event).toSorted()).toEqual(
        speaksBinary(name) ? others.map((other) => other.name).toSorted() : [],
      );
      for (const { payload } of binary) {
        expect(payload).toBeInstanceOf(ArrayBuffer);
        expect(bytesOf(payload)).toEqual([...bytes]);
      }
    }
  });

  it("meet the plain Phoenix client, whose texts pass as they are", async () => {
    const topic = uniqueTopic();
    const phoenix = await joinWithPhoenix(gateway(0), topic, { broadcast: { ack: true, self: true } });
    ends.push(() => phoenix.disconnect());
    const other = await join("realtime-js 2.10.0", gateway(1), { topic });
    const odd = { type: "broadcast", event: "e", payload: [1], meta: { mine: true }, more: null };
    expect(await phoenix.push(odd)).toBe("ok");
    await received(other, 1);
    expect(await other.send("back", { b: 2 })).toBe("ok");
    await waitUntil(() => phoenix.received.length === 2, { what: "both broadcasts" });
    expect(other.received).toEqual([odd]);
    expect(phoenix.received).toEqual([odd, { type: "broadcast", event: "back", payload: { b: 2 } }]);
  });
});

describe.each(broadcastClientNames)("%s", (name) => {
  it("gets its own broadcasts and answers when it asks for them", async () => {
    const config = { topic: uniqueTopic(), broadcast: { ack: true, self: true } };
    const [own, other] = await Promise.all([join(name, gateway(0), config), join(name, gateway(1), config)]);
    expect(await own.send("mine", { n: 1 })).toBe("ok");
    await received(own, 1);
    await received(other, 1);
    const message = { type: "broadcast", event: "mine", payload: { n: 1 } };
    expect([own.received, other.received]).toEqual([[message], [message]]);
  });
});

describe.each(newerClientNames)("%s", (name) => {
  it("is told that a broadcast is too large, and its connection stays", async () => {
    const config = { topic: uniqueTopic(), broadcast: { ack: true } };
    const [sender, receiver] = await Promise.all([join(name, gateway(0), config), join(name, gateway(1), config)]);
    expect(await sender.send("large", { text: "x".repeat(3_001_000) })).toBe("error");
    const text = "y".repeat(2_900_000); // above what one NATS message may hold
    expect(await sender.send("below", { text })).toBe("ok");
    await received(receiver, 1);
    expect(receiver.received.map(({ event }) => event)).toEqual(["below"]);
    expect((receiver.received[0]?.payload as { text: string } | undefined)?.text === text).toBe(true);
    expect(sender.statuses).toEqual(["SUBSCRIBED"]);
  });

  it("hears in a private channel what private ones say, and nothing else", async () => {
    const topic = uniqueTopic();
    const [open, openFar, closed, closedFar] = await Promise.all([
      join(name, gateway(0), { topic }),
      join(name, gateway(1), { topic }),
      join(name, gateway(0), { topic, private: true }),
      join(name, gateway(1), { topic, private: true }),
    ]);
    await open.send("public", {});
    await closed.send("private", {});
    await received(openFar, 1);
    await received(closedFar, 1);
    for (const channel of [open, openFar, closed, closedFar])
      expect(channel.received.map(({ event }) => event)).toEqual(
        channel === openFar ? ["public"] : channel === closedFar ? ["private"] : [],
      );
  });
});

it("a thousand broadcasts of each sender keep their order, on both gateways and in both formats", async () => {
  const topic = uniqueTopic();
  const [one, two, ...receivers] = await Promise.all([
    join("realtime-js 2.119.0", gateway(0), { topic }),
    join("realtime-js 2.10.0", gateway(1), { topic }),
    join("realtime-js 2.119.0", gateway(1), { topic }),
    join("realtime-js 2.10.0", gateway(0), { topic }),
  ]);
  const count = 1_000;
  for (let n = 0; n < count; n++) {
    void one?.send("one", { n });
    void two?.send("two", { n });
  }
  const inOrder = Array.from({ length: count }, (_, n) => n);
  for (const channel of receivers) {
    await received(channel, 2 * count);
    for (const sender of ["one", "two"]) {
      const numbers = channel.received
        .filter(({ event }) => event === sender)
        .map(({ payload }) => (payload as { n: number }).n);
      expect(numbers).toEqual(inOrder);
    }
  }
});

describe("without a socket", () => {
  it.each(newerClientNames)("%s sends over HTTP before it has joined", async (name) => {
    const warnings = vi.spyOn(console, "warn").mockReturnValue(); // 2.81.0 has no other way to say that it does
    ends.push(() => warnings.mockRestore());
    const topic = uniqueTopic();
    const listeners = await Promise.all(
      (["realtime-js 2.10.0", "realtime-js 2.119.0"] as const).map((other, index) =>
        join(other, gateway(index), { topic }),
      ),
    );
    const channel = connectTo(name, gateway(0)).channel(topic);
    expect(await channel.send("early", { n: 1 })).toBe("ok");
    for (const listener of listeners) {
      await received(listener, 1);
      expect(listener.received).toEqual([{ type: "broadcast", event: "early", payload: { n: 1 } }]);
    }
  });

  it.each(["realtime-js 2.119.0", "supabase-js"] as const)("%s sends with httpSend, JSON and bytes", async (name) => {
    const topic = uniqueTopic();
    const [text, binary] = await Promise.all([
      join("realtime-js 2.10.0", gateway(0), { topic, private: true }),
      join("realtime-js 2.119.0", gateway(1), { topic, private: true }),
    ]);
    const channel = connectTo(name, gateway(0)).channel(topic, { private: true });
    expect(await channel.httpSend("json", { n: [1] })).toEqual({ success: true });
    expect(await channel.httpSend("bytes", Uint8Array.of(1, 2, 255).buffer)).toEqual({ success: true });
    expect(await channel.httpSend("last", {})).toEqual({ success: true });
    await received(text, 2);
    await received(binary, 3);
    const json = { type: "broadcast", event: "json", payload: { n: [1] } };
    expect(text.received).toEqual([json, { type: "broadcast", event: "last", payload: {} }]);
    expect(binary.received[0]).toEqual(json);
    expect(bytesOf(binary.received[1]?.payload)).toEqual([1, 2, 255]);
    await expect(channel.httpSend("large", { text: "x".repeat(3_001_000) })).rejects.toThrow("Unprocessable Entity");
  });

  it("is refused with the words that clients show", async () => {
    const channel = connectTo("realtime-js 2.119.0", baseOf(secured), "no-token").channel(uniqueTopic());
    await expect(channel.httpSend("e", {})).rejects.toThrow("Unauthorized");
  });
});

describe("HTTP", () => {
  const tokenOf = (claims: object): Promise<string> =>
    new SignJWT({ role: "anon", exp: Math.floor(Date.now() / 1000) + 600, ...claims })
      .setProtectedHeader({ alg: "HS256" })
      .sign(new TextEncoder().encode(secret));
  const message = { topic: "http", event: "e", payload: { a: 1 } };
  const post = async (
    path: string,
    init: RequestInit,
  ): Promise<{ status: number; body: string; type: string | null }> => {
    const response = await fetch(`${baseOf(secured)}${path}`, { method: "POST", ...init });
    return { status: response.status, body: await response.text(), type: response.headers.get("content-type") };
  };
  const json = { "content-type": "application/json" };

  it.each(["/api/broadcast", "/realtime/v1/api/broadcast"])("%s answers with the peer's statuses", async (path) => {
    const token = await tokenOf({});
    const body = JSON.stringify({ messages: [message] });
    const good = { ...json, authorization: `Bearer ${token}` };
    const type = "application/json; charset=utf-8";
    expect(await post(`${path}?apikey=x&vsn=1.0.0`, { headers: good, body })).toEqual({
      status: 202,
      body: "",
      type: null,
    });
    expect(await post(path, { headers: { ...json, authorization: "", apikey: token }, body })).toMatchObject({
      status: 202,
    });
    const unauthorized = { status: 401, body: '{"message":"Unauthorized"}', type };
    expect(await post(path, { headers: json, body })).toEqual(unauthorized);
    expect(await post(path, { headers: { ...json, apikey: await tokenOf({ exp: 1 }) }, body })).toEqual(unauthorized);
    expect(await post(path, { headers: good, body: "{" })).toMatchObject({ status: 400 });
    expect(
      await post(path, { headers: good, body: '{"messages":[{"topic":"t"},' + JSON.stringify(message) + "]}" }),
    ).toEqual({
      status: 422,
      body: `{"errors":{"messages":[{"event":["can't be blank"],"payload":["can't be blank"]},{}]}}`,
      type,
    });
    expect(await post(path, { headers: good, body: "{}" })).toEqual({
      status: 422,
      body: `{"errors":{"messages":["can't be blank"]}}`,
      type,
    });
    const large = { ...message, payload: { text: "x".repeat(3_001_000) } };
    expect(await post(path, { headers: good, body: JSON.stringify({ messages: [large] }) })).toEqual({
      status: 422,
      body: '{"errors":{"messages":[{"payload":["Payload size exceeds tenant limit"]}]}}',
      type,
    });
    expect(await post(path, { headers: good, body: " ".repeat(9_000_000) })).toMatchObject({ status: 413, type });
    const single = `${path}/a%3Ab/events/e`;
    expect(await post(single, { headers: good, body: "{}" })).toEqual({ status: 202, body: "", type: null });
    expect(await post(single, { headers: { ...json }, body: "{}" })).toEqual(unauthorized);
    expect(await post(single, { headers: { "content-type": "text/xml" }, body: "<x/>" })).toEqual({
      status: 415,
      body: '{"error":"Unsupported Media Type. Use application/json or application/octet-stream"}',
      type,
    });
    expect(await post(single, { headers: good, body: JSON.stringify("x".repeat(3_001_000)) })).toEqual({
      status: 422,
      body: '{"errors":{"payload":["Payload size exceeds tenant limit"]}}',
      type,
    });
  });

  it("takes no more than its rate", async () => {
    const limited = await cluster.addGateway({ TENANT_MAX_EVENTS_PER_SECOND: "3" });
    await untilHealthy(limited);
    ends.push(() => limited.process.stop());
    const send = (count: number): Promise<Response> =>
      fetch(`${baseOf(limited)}/api/broadcast`, {
        method: "POST",
        body: JSON.stringify({ messages: Array.from({ length: count }, () => message) }),
      });
    const refused = await send(4);
    expect([refused.status, await refused.json()]).toEqual([
      429,
      { message: "Too many messages to broadcast, please reduce the batch size" },
    ]);
    expect(refused.headers.get("x-rate-limit-remaining")).toBe("3");
    const statuses: number[] = [];
    await waitUntil(
      async () => {
        statuses.push((await send(1)).status);
        return statuses.at(-1) === 429;
      },
      { what: "the limit" },
    );
    expect(statuses.filter((status) => status === 202).length).toBeGreaterThan(5);
    const last = await fetch(`${baseOf(limited)}/metrics`);
    expect(await last.text()).toContain('walcast_gateway_broadcasts_received_total{origin="http"}');
  });
});

it("a gateway that NATS is away from serves its own clients, says what is wrong, and heals", async () => {
  const nats = await startNats();
  const proxy = await startProxy({ target: nats.url });
  const own = await startCluster({ postgresUrl: inject("postgresUrl"), natsUrl: nats.url });
  ends.push(async () => {
    await own.stop();
    await proxy.stop();
    await nats.stop();
  });
  const near = await own.addGateway({ NATS_URL: proxy.url });
  await untilHealthy(near);
  const topic = uniqueTopic();
  const config = { topic, broadcast: { ack: true } };
  const far = own.gateways[0];
  if (far === undefined) throw new Error("a gateway was started");
  const [sender, local, remote] = await Promise.all([
    join("realtime-js 2.119.0", baseOf(near), config),
    join("realtime-js 2.10.0", baseOf(near), config),
    join("realtime-js 2.119.0", baseOf(far), config),
  ]);
  await sender.send("before", {});
  await received(remote, 1);
  proxy.cut();
  const problem = await untilProblem(near, "BUS_UNAVAILABLE");
  expect(problem).toMatchObject({ part: "bus", message: expect.stringContaining("NATS_URL") as string });
  expect(await sender.send("meanwhile", {})).toBe("ok");
  await received(local, 2);
  proxy.heal();
  await untilHealthy(near);
  await waitUntil(
    async () => {
      await sender.send("after", {});
      await remote.send("back", {});
      return [remote, local].every(({ received: heard }, index) =>
        heard.some(({ event }) => event === ["after", "back"][index]),
      );
    },
    { what: "both gateways to hear each other again" },
  );
  expect(remote.received.map(({ event }) => event)).not.toContain("meanwhile");
});
