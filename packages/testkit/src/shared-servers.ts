import { findContainers, type RunningServer } from "./containers.ts";
import { MissingServerError } from "./errors.ts";
import { startNats } from "./nats.ts";
import { postgresVersionOf, startPostgres } from "./postgres.ts";
import { chosenPostgres } from "./postgres-binaries.ts";
import type { ServerUrls } from "./provided-context.ts";
import { startRedis } from "./redis.ts";
import { installServerBinaries } from "./server-binaries.ts";

const CHOICES = ["docker", "binaries"] as const;
type Choice = (typeof CHOICES)[number];

/** One server of each kind, which many test files use at the same time. */
export interface SharedServers extends ServerUrls {
  stop(): Promise<void>;
}

/**
 * Starts the servers in Docker when an engine has what we need, and from binaries otherwise;
 * `WALCAST_TEST_SERVERS=docker` or `=binaries` takes the choice away, and `WALCAST_TEST_POSTGRES=14` (to 18) that of the
 * PostgreSQL version.
 */
export async function startSharedServers(): Promise<SharedServers> {
  const forced = forcedChoice();
  if (forced !== "binaries") {
    const containers = await findContainers();
    if (!("unavailable" in containers)) {
      // An image of just the version that was asked for need not be there, its binaries are.
      const postgres = chosenPostgres() === undefined ? containers.postgres : startPostgres;
      return startAll([postgres, containers.nats, containers.redis]);
    }
    if (forced === "docker") throw new MissingServerError(`WALCAST_TEST_SERVERS=docker, but ${containers.unavailable}`);
  }
  installServerBinaries(["nats-server", "redis-server"]);
  return startAll([startPostgres, startNats, startRedis]);
}

type Starter = () => Promise<RunningServer>;

async function startAll(starters: readonly [postgres: Starter, nats: Starter, redis: Starter]): Promise<SharedServers> {
  const attempts = await Promise.allSettled(starters.map((start) => start()));
  const started = attempts.flatMap((attempt) => (attempt.status === "fulfilled" ? [attempt.value] : []));
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((server) => server.stop()));
  };
  const failure = attempts.find((attempt) => attempt.status === "rejected");
  const [postgres, nats, redis] = started;
  if (failure !== undefined || postgres === undefined || nats === undefined || redis === undefined) {
    await stop();
    throw new Error(`the servers for tests did not start: ${String(failure?.reason)}`, { cause: failure?.reason });
  }
  const postgresVersion = await postgresVersionOf(postgres.url);
  return { postgresUrl: postgres.url, postgresVersion, natsUrl: nats.url, redisUrl: redis.url, stop };
}

function forcedChoice(): Choice | undefined {
  const value = process.env["WALCAST_TEST_SERVERS"];
  if (value === undefined || value === "") return undefined;
  const choice = CHOICES.find((known) => known === value);
  if (choice === undefined) throw new Error(`WALCAST_TEST_SERVERS is ${value}; it must be docker or binaries`);
  return choice;
}
