import { createServer, type Server } from "node:http";
import type { Registry } from "prom-client";
import type { Health } from "./health.ts";

export interface HealthServerOptions {
  readonly port: number;
  readonly host: string;
  readonly health: Health;
  readonly registry: Registry;
}

/** `/healthz` (200 or 503 with the report) and `/metrics`, for a service that has no HTTP server of its own. */
export async function startHealthServer({ port, host, health, registry }: HealthServerOptions): Promise<Server> {
  const server = createServer((request, response) => {
    const path = request.url?.split("?")[0];
    if (path === "/healthz") {
      response.writeHead(health.isOk ? 200 : 503, { "content-type": "application/json; charset=utf-8" });
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
