import { RedisConnection, type Redis } from "@walcast/redis";
import { describeError } from "@walcast/telemetry";
import type { RedisFacts, Unreachable } from "./facts.ts";

/** Asks Redis everything that the checks need. Nothing is changed. */
export async function collectRedis(url: string, ca: string | undefined): Promise<RedisFacts | Unreachable> {
  const opened = Promise.withResolvers<void>();
  const connection = RedisConnection.open({
    url,
    ca,
    name: "walcast-doctor",
    onTrouble: (trouble) => (trouble === undefined ? opened.resolve() : opened.reject(trouble)),
  });
  try {
    await opened.promise;
    return {
      ...(await connection.run(askMemory)),
      isReplica: /^role:slave/mu.test(await connection.run((client) => client.info("replication"))),
    };
  } catch (error) {
    const { message, cause } = describeError(error);
    return { unreachable: cause === undefined ? message : `${message}: ${cause}` };
  } finally {
    connection.close();
  }
}

/** INFO rather than CONFIG, which managed servers refuse. */
async function askMemory(client: Redis): Promise<Pick<RedisFacts, "evictionPolicy" | "maxMemoryBytes">> {
  const memory = await client.info("memory");
  return {
    evictionPolicy: /^maxmemory_policy:(\S+)/mu.exec(memory)?.[1],
    maxMemoryBytes: Number(/^maxmemory:(\d+)/mu.exec(memory)?.[1] ?? 0),
  };
}
