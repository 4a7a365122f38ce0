import type { Health, Registry } from "@walcast/telemetry";
import type { HttpResponse, TemplatedApp } from "uWebSockets.js";

export interface HttpRoutesOptions {
  readonly health: Health;
  readonly registry: Registry;
  readonly isDraining: () => boolean;
}

const json = (response: HttpResponse, status: string, body: unknown): void => {
  response.writeStatus(status).writeHeader("content-type", "application/json; charset=utf-8").end(JSON.stringify(body));
};

/** What is not a WebSocket (protocol.md 6.3): liveness, readiness, metrics, and 404 for the rest. */
export function addHttpRoutes(app: TemplatedApp, { health, registry, isDraining }: HttpRoutesOptions): void {
  app.get("/healthcheck", (response) => void response.end("ok"));
  app.get("/api/ping", (response) => json(response, "200 OK", { message: "Success" }));
  app.get("/healthz", (response) => {
    json(response, health.isOk ? "200 OK" : "503 Service Unavailable", health.report());
  });
  app.get("/readyz", (response) => {
    const isReady = health.isOk && !isDraining();
    json(response, isReady ? "200 OK" : "503 Service Unavailable", { ...health.report(), draining: isDraining() });
  });
  app.get("/metrics", (response) => {
    let isAborted = false;
    response.onAborted(() => (isAborted = true));
    registry.metrics().then(
      (text) => isAborted || response.cork(() => response.writeHeader("content-type", registry.contentType).end(text)),
      () => isAborted || response.cork(() => response.writeStatus("500 Internal Server Error").end()),
    );
  });
  for (const path of ["/socket/websocket", "/realtime/v1/websocket"]) {
    app.any(path, (response) => json(response, "400 Bad Request", { error: "this is a WebSocket endpoint" }));
  }
  app.any("/*", (response) =>
    json(response, "404 Not Found", { error: "no such path; clients connect to /socket/websocket" }),
  );
}
