import { randomBytes, randomUUID } from "node:crypto";
import { RedisConnection } from "@walcast/redis";
import { afterAll, expect, inject, it } from "vitest";
import { describePlaceStore, testPlaces } from "../test-place-store.ts";
import { RedisPlaceStore } from "./redis-place-store.ts";

const connect = (): RedisConnection =>
  RedisConnection.open({ url: inject("redisUrl"), name: "a test", onTrouble: () => undefined });
const connections = [connect(), connect()];
afterAll(() => connections.forEach((connection) => connection.close()));
const [redis = connect()] = connections;

const source = `test ${randomBytes(6).toString("hex")}`;
let opened = 0;
describePlaceStore(
  "RedisPlaceStore",
  () => new RedisPlaceStore({ redis: connections[opened++ % 2] ?? redis, source, ...testPlaces }),
);

it("sees nothing of other sources, and leaves what nobody notes to Redis to remove", async () => {
  const id = randomUUID();
  const claim = { id, holder: "A", channel: "c", place: "1.0/10.0", unless: "known" } as const;
  const [here, elsewhere] = [source, `${source} other`].map(
    (of) => new RedisPlaceStore({ redis, source: of, keepMs: 60_000 }),
  );
  expect(await here?.claim(claim)).toEqual({ tag: "noted" });
  expect(await elsewhere?.claim(claim)).toEqual({ tag: "noted" });
  const key = `walcast:{${encodeURIComponent(source)}}:resume:${id}`;
  const leftMs = await redis.run((client) => client.pttl(key));
  expect(leftMs).toBeGreaterThan(0);
  expect(leftMs).toBeLessThanOrEqual(60_000);
  await here?.forget(claim);
  expect(await redis.run((client) => client.exists(key))).toBe(0);
});
