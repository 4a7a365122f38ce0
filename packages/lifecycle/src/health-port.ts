import { startHealthServer, type HealthServerOptions } from "@walcast/telemetry";
import type { Service } from "./service.ts";

/**
 * The same service, with health and metrics on a port of their own, away from clients. It is not ready from when draining
 * begins, and answers until draining has ended.
 */
export async function withHealthPort(
  service: Service,
  options: Omit<HealthServerOptions, "isReady">,
): Promise<Service> {
  let isDraining = false;
  const server = await startHealthServer({ ...options, isReady: () => !isDraining });
  return {
    name: service.name,
    run: (signal) => service.run(signal),
    async drain() {
      isDraining = true;
      try {
        await service.drain?.();
      } finally {
        server.close();
        server.closeAllConnections();
      }
    },
  };
}
