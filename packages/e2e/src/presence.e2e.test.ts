// Over 400 lines: the rows of protocol.md 4.5 and its troubles, on servers that are not to be started twice.

import { randomBytes } from "node:crypto";
import { startNats, startProxy, startRedis, waitUntil, type ServerProcess, type TcpProxy } from "@walcast/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from "vitest";
import { startCluster, untilHealthy, type Cluster, type RunningService } from "./cluster.ts";
import {
  joinPresence,
  joinRaw,
  presenceClientNames,
  sorted,
  type Present,
  type PresenceChannel,
  type PresenceClientName,
  type PresenceOptions,
  type RawPresence,
} from "./presence-clients.ts";

const leaseMs = 2_000;
const env = { PRESENCE_LEASE_MS: String(leaseMs), CLIENT_PRESENCE_MAX_CALLS: "0" };

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    gateways: 2,
    env: { ...env, REDIS_URL: inject("redisUrl") },
  });
});
afterAll(() => cluster.stop());

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

const baseOf = ({ port }: { readonly port: number }): string => `http://127.0.0.1:${port}`;
/** The first or the second gateway. */
function gateway(index: number, of: Cluster = cluster): string {
  const running = of.gateways[index % 2];
  if (running === undefined) throw new Error("two gateways were started");
  return baseOf(running);
}
const uniqueTopic = (): string => `room ${randomBytes(4).toString("hex")}`;

async function join(
  name: PresenceClientName,
  base: string,
  options: PresenceOptions & { readonly topic: string },
): Promise<PresenceChannel> {
  const channel = await joinPresence(name, base, options);
  ends.push(() => channel.disconnect());
  return channel;
}

async function raw(base: string, topic: string, key = ""): Promise<RawPresence> {
  const joined = await joinRaw(base, topic, key);
  ends.push(() => joined.end());
  return joined;
}

/** All of them say that exactly this is present. */
async function untilPresent(
  channels: readonly { present(): Present }[],
  expected: Present,
  timeoutMs = 10_000,
): Promise<void> {
  const wanted = JSON.stringify(sorted(expected));
  await waitUntil(() => channels.every((channel) => JSON.stringify(sorted(channel.present())) === wanted), {
    what: `${wanted} to be present`,
    timeoutMs,
  }).catch((cause: unknown) => {
    const seen = channels.map((channel) => JSON.stringify(sorted(channel.present())));
    throw new Error(`expected ${wanted}, seen ${seen.join("\n")}`, { cause });
  });
}

/** What somebody who comes now is told, at each gateway. */
async function expectState(bases: readonly string[], topic: string, expected: Present): Promise<void> {
  const fresh = await Promise.all(bases.map((base) => raw(base, topic)));
  await untilPresent(fresh, expected);
}

const factOf = async (service: RunningService): Promise<unknown> =>
  ((await service.health()) as unknown as { presence: unknown }).presence;
const isReady = async ({ port }: RunningService): Promise<boolean> =>
  (await fetch(`http://127.0.0.1:${port}/readyz`)).status === 200;

describe("clients of every version, on two gateways", () => {
  it("see each other come, change and go, and nobody at the end", async () => {
    const topic = uniqueTopic();
    const channels = await Promise.all(
      presenceClientNames.map((name, index) => join(name, gateway(index), { topic, key: name, enabled: true })),
    );
    await untilPresent(channels, {});
    const metaOf = (name: string): object => ({ name, text: 'ünïcode "🎈"', n: 1.5, deep: { list: [null, true] } });
    for (const channel of channels) expect(await channel.track(metaOf(channel.name))).toBe("ok");
    const all = Object.fromEntries(presenceClientNames.map((name) => [name, [metaOf(name)]])) as Present;
    await untilPresent(channels, all);
    for (const channel of channels)
      expect(channel.heard.toSorted()).toEqual(
        Object.keys(all)
          .map((key) => `+${key}`)
          .toSorted(),
      );
    await expectState([gateway(0), gateway(1)], topic, all);

    for (const channel of channels) {
      expect(await channel.track({ updated: channel.name })).toBe("ok");
      expect(await channel.track({ updated: channel.name })).toBe("ok");
    }
    const updated = Object.fromEntries(presenceClientNames.map((name) => [name, [{ updated: name }]]));
    await untilPresent(channels, updated);
    await expectState([gateway(0), gateway(1)], topic, updated);

    const [untracking, leaving, closing, ...staying] = channels;
    await untracking?.untrack();
    leaving?.leave();
    closing?.disconnect();
    const left = Object.fromEntries(staying.map(({ name }) => [name, [{ updated: name }]]));
    await untilPresent([...staying, ...(untracking === undefined ? [] : [untracking])], left);
    for (const channel of channels) channel.disconnect();
    await expectState([gateway(0), gateway(1)], topic, {});
  });

  it.each(["realtime-js 2.0.0", "realtime-js 2.10.0", "realtime-js 2.119.0"] as const)(
    "%s that asks for nothing takes part once it tracks",
    async (name) => {
      const topic = uniqueTopic();
      const other = await join("realtime-js 2.119.0", gateway(1), { topic, key: "other", enabled: true });
      await other.track({});
      const channel = await join(name, gateway(0), { topic, key: "plain", enabled: name === "realtime-js 2.119.0" });
      expect(await channel.track({ n: 1 })).toBe("ok");
      await untilPresent([channel, other], { other: [{}], plain: [{ n: 1 }] });
    },
  );

  it("share a key from different gateways", async () => {
    const topic = uniqueTopic();
    const [one, two, watcher] = await Promise.all([
      join("realtime-js 2.119.0", gateway(0), { topic, key: "user", enabled: true }),
      join("realtime-js 2.10.0", gateway(1), { topic, key: "user", enabled: true }),
      join("phoenix", gateway(0), { topic, key: "w", enabled: true }),
    ]);
    await one.track({ device: 1 });
    await two.track({ device: 2 });
    await untilPresent([one, two, watcher], { user: [{ device: 1 }, { device: 2 }] });
    await one.track({ device: "one" });
    await untilPresent([one, two, watcher], { user: [{ device: "one" }, { device: 2 }] });
    two.disconnect();
    await untilPresent([one, watcher], { user: [{ device: "one" }] });
    expect(one.heard).toEqual(watcher.heard);
  });

  it("are apart in private and public channels of one topic", async () => {
    const topic = uniqueTopic();
    const [open, closed, closedFar] = await Promise.all([
      join("realtime-js 2.119.0", gateway(0), { topic, key: "open", enabled: true }),
      join("realtime-js 2.119.0", gateway(0), { topic, key: "closed", enabled: true, private: true }),
      join("phoenix", gateway(1), { topic, key: "far", enabled: true, private: true }),
    ]);
    for (const channel of [open, closed, closedFar]) expect(await channel.track({})).toBe("ok");
    await untilPresent([open], { open: [{}] });
    await untilPresent([closed, closedFar], { closed: [{}], far: [{}] });
  });
});

it("a crowd that comes, changes and goes at random is seen by all as it is, in frames without a contradiction", async () => {
  const topic = uniqueTopic();
  const crowd = await Promise.all(Array.from({ length: 40 }, (_, i) => raw(gateway(i), topic, `u${i % 15}`)));
  let seed = 1;
  const random = (below: number): number => (seed = (seed * 48_271) % 0x7fff_ffff) % below;
  const tracked = new Map<RawPresence, object>();
  const gone = new Set<RawPresence>();
  const watchers: RawPresence[] = [];
  for (let step = 0; step < 1_000; step++) {
    const one = crowd[random(crowd.length)];
    if (one === undefined || gone.has(one)) continue;
    const dice = random(100);
    if (dice < 70) {
      const meta = { step, by: one.key };
      one.track(meta);
      tracked.set(one, meta);
    } else if (dice < 95) {
      one.untrack();
      tracked.delete(one);
    } else if (gone.size < 15) {
      one.end();
      gone.add(one);
      tracked.delete(one);
    } else watchers.push(await raw(gateway(step), topic));
  }
  expect(watchers.length).toBeGreaterThan(5);
  const expected: Record<string, Record<string, unknown>[]> = {};
  for (const [{ key }, meta] of tracked) (expected[key] ??= []).push(meta as Record<string, unknown>);
  await untilPresent([...crowd.filter((one) => !gone.has(one)), ...watchers], expected);
  await expectState([gateway(0), gateway(1)], topic, expected);
});

describe("a gateway", () => {
  const add = async (): Promise<RunningService> => {
    const added = await cluster.addGateway();
    await untilHealthy(added);
    ends.push(() => added.process.stop());
    return added;
  };

  it("that is killed takes its members with it within its lease, everywhere", async () => {
    const topic = uniqueTopic();
    const dying = await add();
    const watchers = await Promise.all([raw(gateway(0), topic), raw(gateway(1), topic)]);
    const [lost, staying] = [await raw(baseOf(dying), topic, "lost"), await raw(gateway(0), topic, "staying")];
    for (const one of [lost, staying]) one.track({});
    await untilPresent(watchers, { lost: [{}], staying: [{}] });
    await dying.process.kill9();
    const startedAt = performance.now();
    await untilPresent(watchers, { staying: [{}] });
    expect(performance.now() - startedAt).toBeLessThan(leaseMs + 500);
    await expectState([gateway(0), gateway(1)], topic, { staying: [{}] });
  });

  it("that is stopped says that its members leave", async () => {
    const topic = uniqueTopic();
    const stopping = await add();
    const watcher = await raw(gateway(0), topic);
    (await raw(baseOf(stopping), topic, "leaving")).track({});
    await untilPresent([watcher], { leaving: [{}] });
    const startedAt = performance.now();
    expect(await stopping.process.stop()).toEqual({ code: 0, signal: undefined });
    await untilPresent([watcher], {});
    expect(performance.now() - startedAt).toBeLessThan(leaseMs);
  });

  it("that was frozen for longer than its lease is seen to leave, and to come back when it wakes", async () => {
    const topic = uniqueTopic();
    const freezing = await add();
    const [near, far] = [await raw(baseOf(freezing), topic, "frozen"), await raw(gateway(0), topic, "far")];
    const watcher = await raw(gateway(1), topic);
    for (const one of [near, far]) one.track({ n: 1 });
    await untilPresent([near, far, watcher], { far: [{ n: 1 }], frozen: [{ n: 1 }] });
    freezing.process.pause();
    await untilPresent([far, watcher], { far: [{ n: 1 }] });
    far.track({ n: 2 });
    await untilPresent([watcher], { far: [{ n: 2 }] });
    freezing.process.resume();
    await untilPresent([near, far, watcher], { far: [{ n: 2 }], frozen: [{ n: 1 }] });
    expect(freezing.process.lines.join("\n")).toContain("PRESENCE_LEASE_LOST");
    near.track({ n: 3 });
    await untilPresent([near, far, watcher], { far: [{ n: 2 }], frozen: [{ n: 3 }] });
    await expectState([gateway(0), gateway(1), baseOf(freezing)], topic, { far: [{ n: 2 }], frozen: [{ n: 3 }] });
    near.end();
    await untilPresent([far, watcher], { far: [{ n: 2 }] });
  });
});

describe("when something is away", () => {
  let redis: ServerProcess;
  let nats: ServerProcess;
  let redisProxy: TcpProxy;
  let natsProxy: TcpProxy;
  let own: Cluster;
  let near: RunningService;
  let far: RunningService;
  beforeAll(async () => {
    [redis, nats] = await Promise.all([startRedis(), startNats()]);
    [redisProxy, natsProxy] = await Promise.all([startProxy({ target: redis.url }), startProxy({ target: nats.url })]);
    own = await startCluster({
      postgresUrl: inject("postgresUrl"),
      natsUrl: nats.url,
      gateways: 1,
      env: { ...env, REDIS_URL: redis.url },
    });
    near = await own.addGateway({ REDIS_URL: redisProxy.url, NATS_URL: natsProxy.url });
    await untilHealthy(near);
    const [first] = own.gateways;
    if (first === undefined) throw new Error("a gateway was started");
    far = first;
    await waitUntil(async () => (await factOf(near)) === "ok" && (await factOf(far)) === "ok", { what: "presence" });
  });
  afterAll(async () => {
    await own.stop();
    await Promise.all([redisProxy.stop(), natsProxy.stop()]);
    await Promise.all([redis.stop(), nats.stop()]);
  });
  afterEach(async () => {
    redisProxy.heal();
    natsProxy.heal();
    await waitUntil(async () => (await factOf(near)) === "ok" && (await factOf(far)) === "ok", { what: "presence" });
    await Promise.all([near, far].map((one) => untilHealthy(one)));
  });

  /** One member and one who only watches, at each of the two. */
  async function crowd(): Promise<{ topic: string; a: RawPresence; b: RawPresence; watchers: RawPresence[] }> {
    const topic = uniqueTopic();
    const [a, b] = [await raw(baseOf(near), topic, "a"), await raw(baseOf(far), topic, "b")];
    const watchers = [await raw(baseOf(near), topic), await raw(baseOf(far), topic)];
    for (const one of [a, b]) one.track({ n: 1 });
    await untilPresent(watchers, { a: [{ n: 1 }], b: [{ n: 1 }] });
    return { topic, a, b, watchers };
  }

  it("Redis crashes: presence goes on over the bus, gateways stay ready, and nobody flickers when it is back, empty", async () => {
    const { topic, a, b, watchers } = await crowd();
    await redis.kill9();
    await waitUntil(async () => (await factOf(near)) !== "ok" && (await factOf(far)) !== "ok", {
      what: "it to be told",
    });
    expect(await factOf(far)).toMatchObject({
      code: "REDIS_UNAVAILABLE",
      message: expect.stringContaining("REDIS_URL"),
    });
    expect([await isReady(near), await isReady(far)]).toEqual([true, true]);
    a.track({ n: 2 });
    await untilPresent([a, b, ...watchers], { a: [{ n: 2 }], b: [{ n: 1 }] });
    const late = await raw(baseOf(near), topic, "late");
    late.track({});
    b.untrack();
    await untilPresent([a, b, ...watchers, late], { a: [{ n: 2 }], late: [{}] });
    const [ghost, gone] = [await raw(baseOf(far), topic, "ghost"), await raw(baseOf(near), topic, "gone")];
    for (const one of [ghost, gone]) one.track({});
    await untilPresent([a, b, ...watchers], { a: [{ n: 2 }], late: [{}], ghost: [{}], gone: [{}] });
    gone.end();
    await untilPresent([a, b, ...watchers], { a: [{ n: 2 }], late: [{}], ghost: [{}] });
    const framesBefore = watchers.map(({ socket }) => socket.frames.length);
    await redis.restart();
    await waitUntil(async () => (await factOf(near)) === "ok" && (await factOf(far)) === "ok", { what: "the heal" });
    ghost.end();
    await untilPresent([a, b, ...watchers], { a: [{ n: 2 }], late: [{}] });
    await expectState([baseOf(near), baseOf(far)], topic, { a: [{ n: 2 }], late: [{}] });
    expect(watchers.map(({ socket }) => socket.frames.length)).toEqual(framesBefore.map((count) => count + 1));
  });

  it("a gateway that dies while Redis is away is gone one lease after Redis is back", async () => {
    const { a, b, topic } = await crowd();
    const dying = await own.addGateway();
    await untilHealthy(dying);
    const lost = await raw(baseOf(dying), topic, "lost");
    lost.track({});
    await untilPresent([a, b], { a: [{ n: 1 }], b: [{ n: 1 }], lost: [{}] });
    await redis.kill9();
    await dying.process.kill9();
    await waitUntil(async () => (await factOf(far)) !== "ok", { what: "it to be told" });
    expect([await isReady(near), await isReady(far)]).toEqual([true, true]);
    await redis.restart();
    await untilPresent([a, b], { a: [{ n: 1 }], b: [{ n: 1 }] }, 5 * leaseMs + 10_000);
    await expectState([baseOf(near), baseOf(far)], topic, { a: [{ n: 1 }], b: [{ n: 1 }] });
  });

  it.each(["cut", "stall"] as const)(
    "the network to Redis has a %s at one gateway: it heals without ghosts",
    async (trouble) => {
      const { topic, a, b, watchers } = await crowd();
      redisProxy[trouble]();
      await waitUntil(async () => (await factOf(near)) !== "ok", { what: "it to be told" });
      a.track({ n: 2 });
      const late = await raw(baseOf(near), topic, "late");
      late.track({});
      await untilPresent(watchers.slice(0, 1), { a: [{ n: 2 }], b: [{ n: 1 }], late: [{}] });
      b.track({ n: 2 });
      await untilPresent([a, late, ...watchers.slice(0, 1)], { a: [{ n: 2 }], b: [{ n: 2 }], late: [{}] });
      // To the others its lease ends, and its members with it, those who were told without being stored as well.
      await untilPresent(watchers.slice(1), { b: [{ n: 2 }] });
      expect(await isReady(near)).toBe(true);
      a.untrack();
      redisProxy.heal();
      await untilPresent([a, b, late, ...watchers], { b: [{ n: 2 }], late: [{}] }, 15_000);
      await expectState([baseOf(near), baseOf(far)], topic, { b: [{ n: 2 }], late: [{}] });
    },
  );

  it("the bus is cut at one gateway: each compares with Redis meanwhile, and all is equal when it heals", async () => {
    const { topic, a, b, watchers } = await crowd();
    natsProxy.cut();
    await waitUntil(async () => (await near.health()).status !== "ok", { what: "it to be told" });
    b.track({ n: 2 });
    await untilPresent([a, ...watchers.slice(0, 1)], { a: [{ n: 1 }], b: [{ n: 2 }] }); // by comparing
    expect(await factOf(near)).toBe("ok");
    a.track({ n: 2 });
    const late = await raw(baseOf(near), topic, "late");
    late.track({});
    await untilPresent([a, late], { a: [{ n: 2 }], b: [{ n: 2 }], late: [{}] });
    late.end();
    a.untrack();
    natsProxy.heal();
    await untilPresent([a, b, ...watchers], { b: [{ n: 2 }] });
    a.track({ n: 3 });
    await untilPresent([a, b, ...watchers], { a: [{ n: 3 }], b: [{ n: 2 }] });
    await expectState([baseOf(near), baseOf(far)], topic, { a: [{ n: 3 }], b: [{ n: 2 }] });
  });
});

it("nobody is left when all gateways were killed at once and others come", async () => {
  const own = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    gateways: 2,
    env: { ...env, REDIS_URL: inject("redisUrl") },
  });
  ends.push(() => own.stop());
  const topic = uniqueTopic();
  const members = await Promise.all([0, 1].map((index) => raw(gateway(index, own), topic, `u${index}`)));
  for (const member of members) member.track({});
  await untilPresent(members, { u0: [{}], u1: [{}] });
  await Promise.all(own.gateways.map(({ process }) => process.kill9()));
  const next = await own.addGateway();
  await untilHealthy(next);
  const watcher = await raw(baseOf(next), topic);
  await untilPresent([watcher], {}, leaseMs + 5_000);
  expect(watcher.socket.frames).not.toEqual([]);
});

it("without Redis each gateway knows its own members, and says so in its log", async () => {
  const own = await startCluster({ postgresUrl: inject("postgresUrl"), natsUrl: inject("natsUrl"), gateways: 2 });
  ends.push(() => own.stop());
  const topic = uniqueTopic();
  const [one, two] = [await raw(gateway(0, own), topic, "one"), await raw(gateway(1, own), topic, "two")];
  for (const member of [one, two]) member.track({});
  await untilPresent([one], { one: [{}] });
  await untilPresent([two], { two: [{}] });
  for (const { process } of own.gateways) expect(process.lines.join("\n")).toContain("REDIS_URL is not set");
});
