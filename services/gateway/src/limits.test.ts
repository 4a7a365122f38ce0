import { Registry } from "@walcast/telemetry";
import { describe, expect, it } from "vitest";
import { Limits, noCounts, type Counts, type LimitsOptions } from "./limits.ts";
import { createMetrics } from "./metrics.ts";
import { openSocket, okJoin, room, startTestGateway, text } from "./test-gateway.ts";

const none: LimitsOptions["max"] = {
  events: 0,
  presenceEvents: 0,
  joins: 0,
  users: 0,
  channels: 0,
  connections: 0,
  presenceCalls: 0,
};

function create(
  max: Partial<LimitsOptions["max"]>,
  others: Counts = noCounts,
): { limits: Limits; at: (ms: number) => void } {
  let nowMs = 0;
  const limits = new Limits({
    max: { ...none, ...max },
    presenceWindowMs: 30_000,
    others: () => others,
    metrics: createMetrics(new Registry()),
    now: () => nowMs,
  });
  return { limits, at: (ms) => (nowMs = ms) };
}

describe("Limits", () => {
  it("let everything pass where there is none", () => {
    const { limits } = create({});
    limits.count("events", 1_000_000);
    limits.countUser(1);
    const calls = limits.presenceCalls();
    expect([limits.isOver("events"), limits.isOver("users"), limits.isFull("channels", 1_000)]).toEqual([
      false,
      false,
      false,
    ]);
    expect(Array.from({ length: 1_000 }, () => calls.take())).not.toContain(false);
  });

  it("let short bursts pass, trigger when the average reaches them, and clear below", () => {
    const { limits, at } = create({ events: 10 });
    limits.count("events", 49);
    expect(limits.isOver("events")).toBe(false);
    limits.count("events");
    expect(limits.isOver("events")).toBe(true);
    at(5_000);
    expect(limits.isOver("events")).toBe(false);
    limits.count("events", 549); // 599 in a minute
    at(59_000);
    expect(limits.isOver("events")).toBe(false);
    limits.count("events");
    expect(limits.isOver("events")).toBe(true);
    at(61_000);
    expect(limits.isOver("events")).toBe(false);
  });

  it("count what the others counted", () => {
    const { limits } = create({ users: 3, joins: 4 }, { ...noCounts, users: 2, joins: 4 });
    expect([limits.isOver("users"), limits.isOver("joins")]).toEqual([false, true]);
    limits.countUser(1);
    expect([limits.isOver("users"), limits.total("users")]).toEqual([true, 3]);
    expect(limits.counts).toEqual({ ...noCounts, users: 1 });
  });

  it("take as many calls of a channel as its window has, whenever it begins", () => {
    const { limits, at } = create({ presenceCalls: 2 });
    const calls = limits.presenceCalls();
    expect([calls.take(), calls.take(), calls.take()]).toEqual([true, true, false]);
    expect(limits.presenceCalls().take()).toBe(true);
    at(29_999);
    expect(calls.take()).toBe(false);
    at(60_000);
    expect([calls.take(), calls.take(), calls.take()]).toEqual([true, true, false]);
  });
});

it("the last words of a client that closes at once are heard, and it leaves", async () => {
  const gateway = await startTestGateway();
  const [sender, receiver] = [await openSocket(gateway), await openSocket(gateway)];
  expect(await sender.join(room)).toEqual(okJoin);
  await receiver.join(room);
  for (let i = 0; i < 100; i++) sender.send(room, "broadcast", { ...text, payload: i });
  sender.close();
  await sender.closed;
  await receiver.settled();
  expect(receiver.broadcasts()).toEqual(Array.from({ length: 100 }, (_, payload) => ({ ...text, payload })));
  expect(await gateway.metric("walcast_gateway_channels")).toBe(1);
});
