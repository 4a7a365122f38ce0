import { randomBytes } from "node:crypto";
import { RedisConnection } from "@walcast/redis";
import { waitUntil } from "@walcast/testkit";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { describePresenceStore, entryOf, testLeaseMs } from "./conformance.ts";
import { RedisPresenceStore } from "./redis.ts";

const uniqueSource = (): string => `test ${randomBytes(6).toString("hex")} {}`;
const connections: RedisConnection[] = [];
async function connect(): Promise<RedisConnection> {
  let isUp = false;
  const redis = RedisConnection.open({
    url: inject("redisUrl"),
    name: "a test",
    onTrouble: (trouble) => (isUp = trouble === undefined),
  });
  connections.push(redis);
  await waitUntil(() => isUp, { what: "Redis" });
  return redis;
}
let redis: RedisConnection;
let other: RedisConnection;
beforeAll(async () => {
  [redis, other] = [await connect(), await connect()];
});
afterAll(() => connections.forEach((connection) => connection.close()));

const keysOf = (source: string): Promise<string[]> =>
  redis.run((client) => client.keys(`walcast:{${encodeURIComponent(source).replaceAll("*", "\\*")}}:*`));

describePresenceStore("RedisPresenceStore", () => {
  const source = uniqueSource();
  let opened = 0;
  return {
    open: () => new RedisPresenceStore({ redis: opened++ % 2 === 0 ? redis : other, source, leaseMs: testLeaseMs }),
    async close() {
      const keys = await keysOf(source);
      if (keys.length > 0) await redis.run((client) => client.del(...keys));
    },
  };
});

describe("RedisPresenceStore", () => {
  it("leaves nothing in Redis behind, and sees nothing of other sources", async () => {
    const [source, stranger] = [uniqueSource(), uniqueSource()];
    const store = new RedisPresenceStore({ redis, source, leaseMs: testLeaseMs });
    const strange = new RedisPresenceStore({ redis: other, source: stranger, leaseMs: 60_000 });
    for (const lease of ["swept", "ended"]) {
      await store.open(lease);
      await store.renew(lease);
      await store.put(lease, [
        { topic: "a", entry: entryOf("1") },
        { topic: "b", entry: entryOf("2") },
      ]);
    }
    expect((await strange.snapshot("a")).entries).toEqual([]);
    expect(await strange.sweep()).toEqual({ swept: [], nextMs: undefined });
    expect((await keysOf(source)).length).toBe(7);
    await store.end("ended");
    const { swept } = await waitUntil(
      async () => {
        const sweep = await store.sweep();
        return sweep.swept.length > 0 && sweep;
      },
      { what: "the sweep" },
    );
    expect(swept.map(({ lease, topics }) => [lease, topics.toSorted()])).toEqual([["swept", ["a", "b"]]]);
    expect(await keysOf(source)).toEqual([]);
  });
});
