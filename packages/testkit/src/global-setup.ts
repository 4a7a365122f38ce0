import type { TestProject } from "vitest/node";
import { type SharedServers, startSharedServers } from "./shared-servers.ts";

interface Lease {
  readonly servers: Promise<SharedServers>;
  users: number;
}

/** vitest evaluates this module once per project, so only the global object can tell the second project of the first. */
const registry = globalThis as { walcastTestServers?: Lease };

/** vitest's `globalSetup` of every project whose tests need servers: one set per run, however many projects ask. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const lease = (registry.walcastTestServers ??= { servers: startSharedServers(), users: 0 });
  const servers = await lease.servers;
  lease.users += 1;
  project.provide("postgresUrl", servers.postgresUrl);
  project.provide("postgresVersion", servers.postgresVersion);
  project.provide("natsUrl", servers.natsUrl);
  project.provide("redisUrl", servers.redisUrl);
  return async () => {
    lease.users -= 1;
    if (lease.users > 0) return;
    delete registry.walcastTestServers;
    await servers.stop();
  };
}
