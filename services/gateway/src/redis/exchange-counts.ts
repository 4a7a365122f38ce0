import { randomBytes } from "node:crypto";
import { isObject, parseJson } from "@walcast/protocol";
import type { RedisConnection } from "@walcast/redis";
import type { ExchangeCounts } from "../cluster-counts.ts";
import { noCounts, sharedCounts, type Counts } from "../limits.ts";

/** What a gateway told longer ago counts no more: it is gone, or cannot reach Redis. */
const staleMs = 5_000;

/** By the clock of Redis, since those of gateways differ. */
const script = `
  local now = redis.call("TIME")
  local nowMs = now[1] * 1000 + math.floor(now[2] / 1000)
  redis.call("HSET", KEYS[1], ARGV[1], string.format("%d", nowMs) .. " " .. ARGV[2])
  redis.call("PEXPIRE", KEYS[1], ARGV[3])
  local all, others = redis.call("HGETALL", KEYS[1]), {}
  for i = 1, #all, 2 do
    local toldMs = tonumber(string.match(all[i + 1], "^%d+"))
    if nowMs - toldMs > tonumber(ARGV[3]) then redis.call("HDEL", KEYS[1], all[i])
    elseif all[i] ~= ARGV[1] then table.insert(others, string.match(all[i + 1], " (.*)$")) end
  end
  return others`;

/** Through one hash: a field for each gateway, with when it told it. */
export function redisCounts(redis: RedisConnection, source: string): ExchangeCounts {
  const key = `walcast:{${encodeURIComponent(source)}}:counts`;
  const gateway = randomBytes(9).toString("base64url");
  return async (counts) => {
    const told = JSON.stringify(counts);
    const others = await redis.run((client) => client.eval(script, 1, key, gateway, told, staleMs));
    return (others as string[]).map(parseJson).reduce(add, noCounts);
  };
}

function add(sum: Counts, counts: unknown): Counts {
  if (!isObject(counts)) return sum;
  const total: Record<keyof Counts, number> = { ...sum };
  for (const name of sharedCounts) if (typeof counts[name] === "number") total[name] += counts[name];
  return total;
}
