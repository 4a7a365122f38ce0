import type { Redis, RedisConnection } from "@walcast/redis";
import {
  defaultChannelsLimit,
  type Claim,
  type ClaimAnswer,
  type Notes,
  type Placement,
  type PlaceStore,
  type PlaceStoreOptions,
} from "../place-store.ts";

// In Redis, for one source:
//
//   walcast:{<source>}:resume:<id>   hash of channel to `<when it was noted, ms> <holder> <place>`; expires with its last note

export interface RedisPlaceStoreOptions extends PlaceStoreOptions {
  readonly redis: RedisConnection;
  /** Names the database and slot whose positions they are. */
  readonly source: string;
}

/** By the clock of Redis, since those of gateways differ. */
const now = `
  local time = redis.call("TIME")
  local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
  local noted = function(holder, place) return string.format("%d", nowMs) .. " " .. holder .. " " .. place end
  local read = function(held)
    local at, holder, place = string.match(held or "", "^(%d+) (%S+) (%S+)$")
    if at and nowMs - tonumber(at) <= tonumber(ARGV[1]) then return holder, place end
  end`;

const scripts = {
  /** keepMs, holder, limit, channel, place, unless */
  claim: `${now}
    local held = redis.call("HGET", KEYS[1], ARGV[4])
    if not held and redis.call("HLEN", KEYS[1]) >= tonumber(ARGV[3]) then
      local all = redis.call("HGETALL", KEYS[1])
      for i = 1, #all, 2 do if not read(all[i + 1]) then redis.call("HDEL", KEYS[1], all[i]) end end
      if redis.call("HLEN", KEYS[1]) >= tonumber(ARGV[3]) then return { "full" } end
    end
    local _, known = read(held)
    if ARGV[6] ~= "known" then known = nil end
    redis.call("HSET", KEYS[1], ARGV[4], noted(ARGV[2], known or ARGV[5]))
    redis.call("PEXPIRE", KEYS[1], ARGV[1])
    if known then return { "known", known } end
    return { "noted" }`,
  /** keepMs, holder, then channel, place and as of each */
  note: `${now}
    for i = 3, #ARGV, 3 do
      local holder = read(redis.call("HGET", KEYS[1], ARGV[i]))
      if not holder or holder == ARGV[2] or ARGV[i + 2] == "taken" then
        redis.call("HSET", KEYS[1], ARGV[i], noted(ARGV[2], ARGV[i + 1]))
      end
    end
    redis.call("PEXPIRE", KEYS[1], ARGV[1])`,
  /** keepMs, holder, channel */
  forget: `${now}
    if read(redis.call("HGET", KEYS[1], ARGV[3])) == ARGV[2] then redis.call("HDEL", KEYS[1], ARGV[3]) end`,
} as const;

/** The store in Redis, where every gateway finds what another one noted. */
export class RedisPlaceStore implements PlaceStore {
  readonly #options: RedisPlaceStoreOptions;
  readonly #prefix: string;

  constructor(options: RedisPlaceStoreOptions) {
    this.#options = options;
    this.#prefix = `walcast:{${encodeURIComponent(options.source)}}:resume:`;
  }

  async claim({ id, holder, channel, place, unless }: Claim): Promise<ClaimAnswer> {
    const { channelsLimit = defaultChannelsLimit } = this.#options;
    const answer = await this.#run("claim", id, [holder, channelsLimit, channel, place, unless]);
    const [tag, known] = answer as [ClaimAnswer["tag"], string | undefined];
    return tag === "known" ? { tag, place: known ?? "" } : { tag };
  }

  async note({ id, holder, places }: Notes): Promise<void> {
    await this.#run("note", id, [holder, ...places.flatMap(({ channel, place, as }) => [channel, place, as])]);
  }

  async forget({ id, holder, channel }: Placement): Promise<void> {
    await this.#run("forget", id, [holder, channel]);
  }

  #run(name: keyof typeof scripts, id: string, values: readonly (string | number)[]): Promise<unknown> {
    const { redis, keepMs } = this.#options;
    return redis.run((client: Redis) => client.eval(scripts[name], 1, this.#prefix + id, keepMs, ...values));
  }
}
