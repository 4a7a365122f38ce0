import { freePort } from "./free-port.ts";
import { startNats } from "./nats.ts";
import type { ServerProcess } from "./server-process.ts";
import { waitUntil } from "./wait-until.ts";

export interface NatsCluster {
  /** All servers, separated by commas. They do not tell clients of each other, so that a proxy cannot be passed by. */
  readonly url: string;
  readonly servers: readonly ServerProcess[];
  stop(): Promise<void>;
}

/** Starts several NATS servers as one JetStream cluster. */
export async function startNatsCluster(size = 3): Promise<NatsCluster> {
  const ports: number[] = [];
  while (ports.length < size) {
    const port = await freePort();
    if (!ports.includes(port)) ports.push(port);
  }
  const routes = ports.map((port) => `"nats://127.0.0.1:${port}"`).join(", ");
  const starting = ports.map((port, index) =>
    startNats({
      serverName: `walcast-${index + 1}`,
      extraConfig: `cluster { name: walcast, listen: "127.0.0.1:${port}", no_advertise: true, routes: [${routes}] }`,
    }),
  );
  const started = await Promise.allSettled(starting);
  const servers = started.flatMap((attempt) => (attempt.status === "fulfilled" ? [attempt.value] : []));
  const stop = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.stop()));
  };
  try {
    const failure = started.find((attempt) => attempt.status === "rejected");
    if (failure !== undefined) throw failure.reason;
    const hasLeader = (server: ServerProcess): boolean =>
      server.lines.some((line) => line.includes("JetStream cluster new metadata leader"));
    await waitUntil(() => servers.some(hasLeader), { what: "the NATS cluster's metadata leader", timeoutMs: 20_000 });
  } catch (error) {
    await stop();
    throw error;
  }
  return { url: servers.map((server) => server.url).join(","), servers, stop };
}
