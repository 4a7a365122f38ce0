import { createServer, type Server } from "node:http";
import type { Registry } from "prom-client";
import type { Health } from "./health.ts";

export interface HealthServerOptions {
  readonly port: number;
  readonly host: string;
  readonly health: Health;
  readonly registry: Registry;
  /** False while the service drains. */
  readonly isReady?: () => boolean;
}

/**
 * `/livez` (200), `/healthz` (200 or 503 with the report), `/readyz` (likewise, and not while draining) and `/metrics`, away
 * from clients, or for a service that has none.
 */
export async function startHealthServer(options: HealthServerOptions): Promise<Server> {
  const { port, host, health, registry, isReady = () => true } = options;
  const server = createServer((request, response) => {
    const path = request.url?.split("?")[0];
    if (path === "/livez") {
      response.end("ok");
    } else if (path === "/healthz" || path === "/readyz") {
      const isOk = health.isOk && (path === "/healthz" || isReady());
      response.writeHead(isOk ? 200 : 503, { "content-type": "application/json; charset=utf-8" });
      response.end(JSON.stringify(health.report()));
    } else if (path === "/metrics") {
      registry.metrics().then(
        (text) => response.writeHead(200, { "content-type": registry.contentType }).end(text),
        () => response.writeHead(500).end(),
      );
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  return server;
}
