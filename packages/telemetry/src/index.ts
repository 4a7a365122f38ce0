export { describeError, Health, type HealthReport, type Problem } from "./health.ts";
export { startHealthServer, type HealthServerOptions } from "./health-server.ts";
export { createLogger, type Logger, type LogSettings } from "./logger.ts";
export { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
export {
  openTracing,
  timeOfDayOffsetMs,
  type Attributes,
  type Span,
  type SpanEnd,
  type SpanStart,
  type Tracing,
} from "./tracing.ts";
export { tracingSettings, type TracingConfig } from "./tracing-settings.ts";
