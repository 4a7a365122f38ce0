import { readFileSync } from "node:fs";
import { RedisPresenceStore } from "@walcast/presence";
import { RedisConnection } from "@walcast/redis";
import { keepMs } from "../place-store.ts";
import type { Shared } from "../shared.ts";
import { redisCounts } from "./exchange-counts.ts";
import { RedisPlaceStore } from "./redis-place-store.ts";

export interface RedisSharedOptions {
  readonly url: string;
  readonly caPath: string | undefined;
  readonly source: string;
  readonly leaseMs: number;
  readonly rememberMs: number;
}

/** What gateways share, in Redis. Begins to connect; throws when the certificate cannot be read. */
export function openRedisShared({ url, caPath, source, leaseMs, rememberMs }: RedisSharedOptions): Shared {
  const redis = RedisConnection.open({
    url,
    ca: caPath === undefined ? undefined : readFileSync(caPath, "utf8"),
    name: "walcast-gateway",
    onTrouble: () => undefined, // presence tells it, with what it means
  });
  return {
    presence: new RedisPresenceStore({ redis, source, leaseMs }),
    leaseMs,
    places: new RedisPlaceStore({ redis, source, keepMs: keepMs(rememberMs) }),
    exchangeCounts: redisCounts(redis, source),
    close: () => redis.close(),
  };
}
