import { describeError } from "./health.ts";
import type { Logger } from "./logger.ts";
import type { TracingConfig } from "./tracing-settings.ts";

// What services see of traces. OpenTelemetry is behind it, in otlp-tracing.ts, which is loaded only where traces are on.

export type Attributes = Readonly<Record<string, string | number>>;

export interface SpanStart {
  /** Milliseconds since 1970, with fractions. */
  readonly atMs: number;
  /** Takes from, or gives to, another service by way of the log; `internal` unless told. */
  readonly kind?: "internal" | "producer" | "consumer";
  readonly attributes?: Attributes;
}

export interface SpanEnd {
  /** Milliseconds since 1970, with fractions. */
  readonly atMs: number;
  readonly attributes?: Attributes;
  /** What failed. */
  readonly error?: unknown;
}

/** One span of a trace that is recorded. */
export interface Span {
  /** It, in the words of W3C Trace Context, for who goes on with the trace elsewhere. */
  readonly traceparent: string;
  /** A part of it. */
  child(name: string, start: SpanStart): Span;
  end(end: SpanEnd): void;
}

/** Traces of this process, sampled: most of what happens has none. */
export interface Tracing {
  /** A new trace; undefined when this one is not in the sample. */
  begin(name: string, start: SpanStart): Span | undefined;
  /** Goes on with a trace of another service; undefined when that one is not in the sample, or the text is no traceparent. */
  goOn(traceparent: string, name: string, start: SpanStart): Span | undefined;
  /** Sends what is left, for at most this many milliseconds. What is tried again after that may hold the process. */
  close(withinMs: number): Promise<void>;
}

/** Undefined where traces are off: then nothing of OpenTelemetry is loaded. */
export async function openTracing(
  service: string,
  { config, log }: { readonly config: TracingConfig; readonly log: Logger },
): Promise<Tracing | undefined> {
  if (config.OTEL_TRACES_EXPORTER === "none") return undefined;
  const { startTracing } = await import("./otlp-tracing.ts");
  let isTroubled = false;
  return startTracing(service, {
    config,
    onExport: (trouble) => {
      if (trouble !== undefined && !isTroubled)
        log.warn(describeError(trouble), "traces cannot be exported and are dropped; nothing else depends on it");
      if (trouble === undefined && isTroubled) log.info("traces are exported again");
      isTroubled = trouble !== undefined;
    },
  });
}

/** What to add to `performance.now()` for the time of day: asked for each trace, as clocks are set and drift. */
export const timeOfDayOffsetMs = (): number => Date.now() - performance.now();
