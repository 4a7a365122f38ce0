import { registerHooks } from "node:module";

// For tests: opens tracing as services do, with this exporter, and prints what of OpenTelemetry was loaded for it. prom-client
// loads the API by itself.

registerHooks({
  load(url, context, nextLoad) {
    if (url.includes("@opentelemetry") && !url.includes("@opentelemetry/api/")) process.stdout.write(`${url}\n`);
    return nextLoad(url, context);
  },
});

const { createLogger, openTracing, tracingSettings } = await import("./index.ts");
const { loadConfig } = await import("@walcast/config");
const log = createLogger("a test", { level: "silent", format: "json" });
const config = loadConfig(tracingSettings, { OTEL_TRACES_EXPORTER: process.argv[2] });
await openTracing("ingester", { config, log });
process.exit();
