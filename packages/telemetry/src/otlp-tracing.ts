import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, type Context, type Span as OtelSpan } from "@opentelemetry/api";
import { ExportResultCode, parseTraceParent } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { defaultResource, resourceFromAttributes } from "@opentelemetry/resources";
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
  type SpanExporter,
} from "@opentelemetry/sdk-trace";
import { describeError } from "./health.ts";
import { pairsOf, type TracingConfig } from "./tracing-settings.ts";
import type { Span, SpanEnd, SpanStart, Tracing } from "./tracing.ts";

const kinds = { internal: SpanKind.INTERNAL, producer: SpanKind.PRODUCER, consumer: SpanKind.CONSUMER } as const;

export interface OtlpTracingOptions {
  readonly config: TracingConfig;
  /** Told of each export: what went wrong, or undefined. */
  readonly onExport: (trouble: Error | undefined) => void;
}

/**
 * Tracing by OpenTelemetry's SDK, without its globals: spans get their parents and times as arguments. Exports run in the
 * background on a bounded queue; what does not fit is dropped.
 */
export function startTracing(service: string, { config, onExport }: OtlpTracingOptions): Tracing {
  const provider = new TracerProvider({
    resource: defaultResource().merge(
      resourceFromAttributes({
        ...pairsOf(config.OTEL_RESOURCE_ATTRIBUTES),
        "service.name": config.OTEL_SERVICE_NAME ?? `walcast-${service}`,
      }),
    ),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(config.OTEL_TRACES_SAMPLER_ARG) }),
    spanProcessors: [new BatchSpanProcessor({ exporter: watched(exporterOf(config), onExport) })],
  });
  const tracer = provider.getTracer("walcast");
  const start = (name: string, { atMs, kind = "internal", attributes = {} }: SpanStart, parent: Context): OtelSpan =>
    tracer.startSpan(name, { startTime: atMs, kind: kinds[kind], attributes }, parent);
  const recording = (span: OtelSpan): Span | undefined => (span.isRecording() ? recordedSpan(span, start) : undefined);
  return {
    begin: (name, from) => recording(start(name, from, ROOT_CONTEXT)),
    goOn(traceparent, name, from) {
      const parent = parseTraceParent(traceparent);
      if (parent === null) return undefined;
      return recording(start(name, from, trace.setSpanContext(ROOT_CONTEXT, { ...parent, isRemote: true })));
    },
    async close(withinMs) {
      const sent = provider.shutdown().catch(() => undefined); // onExport was told
      const { promise: late, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, withinMs);
      await Promise.race([sent, late]);
      clearTimeout(timer);
    },
  };
}

function recordedSpan(span: OtelSpan, start: (name: string, from: SpanStart, parent: Context) => OtelSpan): Span {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return {
    // https://www.w3.org/TR/trace-context/#traceparent-header
    traceparent: `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`,
    child: (name, from) => recordedSpan(start(name, from, trace.setSpan(ROOT_CONTEXT, span)), start),
    end({ atMs, attributes = {}, error }: SpanEnd) {
      span.setAttributes(attributes);
      if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: describeError(error).message });
      span.end(atMs);
    },
  };
}

function exporterOf(config: TracingConfig): SpanExporter {
  const url = new URL(config.OTEL_EXPORTER_OTLP_ENDPOINT);
  url.pathname = `${url.pathname.replace(/\/$/u, "")}/v1/traces`;
  return new OTLPTraceExporter({
    url: url.href,
    headers: { ...pairsOf(config.OTEL_EXPORTER_OTLP_HEADERS?.reveal()) },
    timeoutMillis: config.OTEL_EXPORTER_OTLP_TIMEOUT,
  });
}

/** The SDK tells nobody but a global logger what became of an export. */
function watched(exporter: SpanExporter, onExport: OtlpTracingOptions["onExport"]): SpanExporter {
  return {
    export: (spans, callback) =>
      exporter.export(spans, (result) => {
        onExport(result.code === ExportResultCode.SUCCESS ? undefined : (result.error ?? new Error("it was refused")));
        callback(result);
      }),
    shutdown: () => exporter.shutdown(),
  };
}
