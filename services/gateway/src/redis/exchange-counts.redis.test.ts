import { randomBytes } from "node:crypto";
import { RedisConnection } from "@walcast/redis";
import { afterAll, expect, inject, it } from "vitest";
import { noCounts } from "../limits.ts";
import { redisCounts } from "./exchange-counts.ts";

const redis = RedisConnection.open({ url: inject("redisUrl"), name: "a test", onTrouble: () => undefined });
afterAll(() => redis.close());

it("each gateway gets the sum of what the others told last, of its own source", async () => {
  const source = `test ${randomBytes(6).toString("hex")}`;
  const [one, two, three] = [redisCounts(redis, source), redisCounts(redis, source), redisCounts(redis, source)];
  const stranger = redisCounts(redis, `${source} other`);
  expect(await one({ ...noCounts, users: 1, events: 0.5 })).toEqual(noCounts);
  expect(await two({ ...noCounts, users: 2 })).toEqual({ ...noCounts, users: 1, events: 0.5 });
  expect(await three({ ...noCounts, users: 4, joins: 7 })).toEqual({ ...noCounts, users: 3, events: 0.5 });
  expect(await one({ ...noCounts, users: 8 })).toEqual({ ...noCounts, users: 6, joins: 7 });
  expect(await two(noCounts)).toEqual({ ...noCounts, users: 12, joins: 7 });
  expect(await stranger(noCounts)).toEqual(noCounts);
  // What nobody renews is forgotten by Redis itself.
  const key = `walcast:{${encodeURIComponent(source)}}:counts`;
  expect(await redis.run((client) => client.pttl(key))).toBeGreaterThan(0);
});
