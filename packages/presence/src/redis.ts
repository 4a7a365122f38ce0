import type { Redis, RedisConnection } from "@walcast/redis";
import type { LeasedEntry, PlacedEntry, PresenceEntry, PresenceSnapshot, PresenceStore, Sweep } from "./ports.ts";

// In Redis, for one source (the braces put all of it in one slot of a Redis cluster):
//
//   walcast:{<source>}:presence:leases          set of the leases that are not swept yet
//   walcast:{<source>}:presence:lease:<lease>   expires with the lease; "1" once its entries are seen
//   walcast:{<source>}:presence:index:<lease>   set of `<entry id> <topic>`: what to remove with it
//   walcast:{<source>}:presence:topic:<topic>   hash of `<lease> <entry id>` to the entry as JSON
//
// Scripts are sent whole: a script that Redis has forgotten, after a restart, would be sent again behind later commands.

export interface RedisPresenceOptions {
  readonly redis: RedisConnection;
  /** Names the database and slot that the gateways serve; others are not seen. */
  readonly source: string;
  readonly leaseMs: number;
}

const scripts = {
  open: `
    redis.call("SET", KEYS[1], "0", "PX", ARGV[2])
    redis.call("SADD", KEYS[2], ARGV[1])`,
  renew: `
    return redis.call("SET", KEYS[1], "1", "PX", ARGV[1], "XX") and 1 or 0`,
  /** A lease that has ended takes nothing more: nobody would remove it. */
  put: `
    if redis.call("EXISTS", KEYS[1]) == 0 then return 0 end
    for i = 3, #KEYS do
      local at = (i - 3) * 3 + 2
      redis.call("HSET", KEYS[i], ARGV[1] .. " " .. ARGV[at], ARGV[at + 2])
      redis.call("SADD", KEYS[2], ARGV[at] .. " " .. ARGV[at + 1])
    end
    return 1`,
  remove: `
    redis.call("HDEL", KEYS[1], ARGV[1] .. " " .. ARGV[2])
    redis.call("SREM", KEYS[2], ARGV[2] .. " " .. ARGV[3])`,
  snapshot: `
    local seen = {}
    for _, lease in ipairs(redis.call("SMEMBERS", KEYS[1])) do
      if redis.call("GET", ARGV[1] .. lease) == "1" then table.insert(seen, lease) end
    end
    return { seen, redis.call("HGETALL", KEYS[2]) }`,
  /** Each lease and how long it stands: below zero when it is dead. */
  leases: `
    local found = {}
    for _, lease in ipairs(redis.call("SMEMBERS", KEYS[1])) do
      table.insert(found, lease)
      table.insert(found, redis.call("PTTL", ARGV[1] .. lease))
    end
    return found`,
  /**
   * Removes some entries of a lease that is dead, or that its own gateway ends, and the lease with the last of them. Nobody
   * gets the same ones.
   */
  sweep: `
    if ARGV[4] == "dead" and redis.call("EXISTS", KEYS[1]) == 1 then return {} end
    local topics = {}
    for _, member in ipairs(redis.call("SPOP", KEYS[2], ARGV[3])) do
      local space = string.find(member, " ", 1, true)
      local topic = string.sub(member, space + 1)
      redis.call("HDEL", ARGV[2] .. topic, ARGV[1] .. " " .. string.sub(member, 1, space - 1))
      table.insert(topics, topic)
    end
    if redis.call("EXISTS", KEYS[2]) == 0 then
      redis.call("SREM", KEYS[3], ARGV[1])
      redis.call("DEL", KEYS[1])
    end
    return topics`,
} as const;

/** Entries that one script handles at most: Redis does nothing else meanwhile. */
const chunk = 500;

/** The store in Redis, where several gateways see each other's entries. */
export class RedisPresenceStore implements PresenceStore {
  readonly #redis: RedisConnection;
  readonly #keys: Keys;
  readonly #leaseMs: number;

  constructor({ redis, source, leaseMs }: RedisPresenceOptions) {
    this.#redis = redis;
    this.#keys = keysOf(source);
    this.#leaseMs = leaseMs;
  }

  async open(lease: string): Promise<void> {
    const { leases, leaseOf } = this.#keys;
    await this.#run("open", [leaseOf(lease), leases], [lease, this.#leaseMs]);
  }

  async renew(lease: string): Promise<"renewed" | "lost"> {
    const answer = await this.#run("renew", [this.#keys.leaseOf(lease)], [this.#leaseMs]);
    return answer === 1 ? "renewed" : "lost";
  }

  async put(lease: string, entries: readonly PlacedEntry[]): Promise<"stored" | "lost"> {
    const { leaseOf, indexOf, topicOf } = this.#keys;
    // All are sent before the first is answered, so that what is put or removed after this call comes after them.
    const answers = chunksOf(entries).map((some) =>
      this.#run(
        "put",
        [leaseOf(lease), indexOf(lease), ...some.map(({ topic }) => topicOf(topic))],
        [lease, ...some.flatMap(({ topic, entry }) => [entry.id, topic, JSON.stringify(entry)])],
      ),
    );
    return (await Promise.all(answers)).every((answer) => answer === 1) ? "stored" : "lost";
  }

  async remove(lease: string, { topic, entry }: PlacedEntry): Promise<void> {
    const { indexOf, topicOf } = this.#keys;
    await this.#run("remove", [topicOf(topic), indexOf(lease)], [lease, entry.id, topic]);
  }

  async snapshot(topic: string): Promise<PresenceSnapshot> {
    const { leases, leaseOf, topicOf } = this.#keys;
    const answer = await this.#run("snapshot", [leases, topicOf(topic)], [leaseOf("")]);
    const [seen, fields] = answer as [string[], string[]];
    const standing = new Set(seen);
    const entries: LeasedEntry[] = [];
    for (let i = 0; i + 1 < fields.length; i += 2) {
      const [lease = ""] = (fields[i] ?? "").split(" ", 1);
      if (standing.has(lease)) entries.push({ lease, entry: JSON.parse(fields[i + 1] ?? "") as PresenceEntry });
    }
    return { entries, leases: standing };
  }

  async sweep(): Promise<Sweep> {
    const { leases, leaseOf } = this.#keys;
    const found = (await this.#run("leases", [leases], [leaseOf("")])) as (string | number)[];
    const swept: { lease: string; topics: string[] }[] = [];
    let nextMs: number | undefined;
    for (let i = 0; i + 1 < found.length; i += 2) {
      const [lease, leftMs] = [String(found[i]), Number(found[i + 1])];
      if (leftMs >= 0) nextMs = Math.min(nextMs ?? leftMs, leftMs);
      else {
        try {
          swept.push({ lease, topics: await this.#sweepLease(lease, "dead") });
        } catch (error) {
          if (swept.length === 0) throw error;
          nextMs = 0; // who was removed before is told of first
          break;
        }
      }
    }
    return { swept: swept.filter(({ topics }) => topics.length > 0), nextMs };
  }

  async end(lease: string): Promise<void> {
    // The lease stands until its last entry is gone: nobody else takes it for dead and tells of it.
    await this.#sweepLease(lease, "ended");
  }

  /** The connection is the caller's. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  /** The topics of the entries that this caller has removed. */
  async #sweepLease(lease: string, state: "dead" | "ended"): Promise<string[]> {
    const { leases, leaseOf, indexOf, topicOf } = this.#keys;
    const topics = new Set<string>();
    for (;;) {
      const keys = [leaseOf(lease), indexOf(lease), leases];
      let removed: string[];
      try {
        removed = (await this.#run("sweep", keys, [lease, topicOf(""), chunk, state])) as string[];
      } catch (error) {
        if (topics.size === 0 || state === "ended") throw error;
        return [...topics]; // the rest is still there to be removed
      }
      for (const topic of removed) topics.add(topic);
      if (removed.length < chunk) return [...topics];
    }
  }

  #run(name: keyof typeof scripts, keys: readonly string[], values: readonly (string | number)[]): Promise<unknown> {
    return this.#redis.run((client: Redis) => client.eval(scripts[name], keys.length, ...keys, ...values));
  }
}

interface Keys {
  readonly leases: string;
  readonly leaseOf: (lease: string) => string;
  readonly indexOf: (lease: string) => string;
  readonly topicOf: (topic: string) => string;
}

function keysOf(source: string): Keys {
  const prefix = `walcast:{${encodeURIComponent(source)}}:presence:`;
  return {
    leases: `${prefix}leases`,
    leaseOf: (lease) => `${prefix}lease:${lease}`,
    indexOf: (lease) => `${prefix}index:${lease}`,
    topicOf: (topic) => `${prefix}topic:${topic}`,
  };
}

function chunksOf<T>(values: readonly T[]): readonly T[][] {
  const count = Math.ceil(values.length / chunk);
  return Array.from({ length: count }, (_, i) => values.slice(i * chunk, (i + 1) * chunk));
}
