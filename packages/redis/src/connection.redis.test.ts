import { freePort, startProxy, startRedis, waitUntil } from "@walcast/testkit";
import { afterEach, describe, expect, inject, it } from "vitest";
import { RedisConnection } from "./connection.ts";
import { RedisUnavailableError } from "./errors.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

function open(url: string): { connection: RedisConnection; troubles: (Error | undefined)[] } {
  const troubles: (Error | undefined)[] = [];
  const connection = RedisConnection.open({ url, name: "a test", onTrouble: (trouble) => troubles.push(trouble) });
  ends.push(() => connection.close());
  return { connection, troubles };
}

const untilUp = (troubles: readonly (Error | undefined)[]): Promise<unknown> =>
  waitUntil(() => troubles.length > 0 && troubles.at(-1) === undefined, { what: "Redis to be there" });
const ping = (connection: RedisConnection): Promise<string> => connection.run((client) => client.ping());

describe("RedisConnection", () => {
  it("fails at once while Redis is away, says why, and connects when it comes", async () => {
    const port = await freePort();
    const { connection, troubles } = open(`redis://127.0.0.1:${port}`);
    await expect(ping(connection)).rejects.toBeInstanceOf(RedisUnavailableError);
    await waitUntil(() => troubles.length > 1, { what: "it to be told twice" });
    expect(troubles[0]).toMatchObject({ code: "REDIS_UNAVAILABLE", cause: { code: "ECONNREFUSED" } });
    const server = await startRedis({ port });
    ends.unshift(() => server.stop());
    await untilUp(troubles);
    expect(await ping(connection)).toBe("PONG");
  });

  it("tells of a crash and of the end of it", async () => {
    const server = await startRedis();
    ends.push(() => server.stop());
    const { connection, troubles } = open(server.url);
    await untilUp(troubles);
    await server.kill9();
    await waitUntil(() => troubles.at(-1) !== undefined, { what: "the crash to be told" });
    await expect(ping(connection)).rejects.toThrow("check that Redis runs");
    await server.restart();
    await untilUp(troubles);
    expect(await ping(connection)).toBe("PONG");
  });

  it("does not wait for a network that is silent, nor sends anything twice", async () => {
    const proxy = await startProxy({ target: inject("redisUrl") });
    ends.push(() => proxy.stop());
    const { connection, troubles } = open(proxy.url);
    await untilUp(troubles);
    const key = `walcast test ${Math.random()}`;
    ends.push(() => connection.run((client) => client.del(key)));
    await connection.run((client) => client.incr(key));
    proxy.stall();
    const startedAt = performance.now();
    await expect(connection.run((client) => client.incr(key))).rejects.toMatchObject({
      cause: { message: "no answer in 2000 ms" },
    });
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    await waitUntil(() => troubles.at(-1) !== undefined, { what: "the silence to be told" });
    proxy.heal();
    await untilUp(troubles);
    // What was under way arrived or did not, but not twice.
    expect(await connection.run((client) => client.get(key))).toMatch(/^[12]$/u);
  });

  it("keeps the order of what was not waited for", async () => {
    const { connection, troubles } = open(inject("redisUrl"));
    await untilUp(troubles);
    const key = `walcast test ${Math.random()}`;
    ends.push(() => connection.run((client) => client.del(key)));
    const numbers = Array.from({ length: 500 }, (_, i) => String(i));
    await Promise.all(numbers.map((number) => connection.run((client) => client.rpush(key, number))));
    expect(await connection.run((client) => client.lrange(key, 0, -1))).toEqual(numbers);
  });

  it("does what Redis refuses no second time, and stays", async () => {
    const { connection, troubles } = open(inject("redisUrl"));
    await untilUp(troubles);
    await expect(connection.run((client) => client.call("NONSENSE"))).rejects.toMatchObject({
      code: "REDIS_UNAVAILABLE",
      cause: { message: expect.stringContaining("unknown command") as string },
    });
    expect(await ping(connection)).toBe("PONG");
    expect(troubles).toEqual([undefined]);
  });
});
