import { parsePosition, type Position } from "@walcast/model";
import { createLogger, openTracing, tracingSettings, type Tracing } from "@walcast/telemetry";
import { loadConfig } from "@walcast/config";
import { startTraceCollector, type CollectedSpan, type TraceCollector } from "@walcast/testkit";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { NumberedBatch } from "./batch-builder.ts";
import { BatchTraces } from "./batch-traces.ts";

let collector: TraceCollector;
let tracing: Tracing;
beforeEach(async () => {
  collector = await startTraceCollector();
  const config = loadConfig(tracingSettings, {
    OTEL_TRACES_EXPORTER: "otlp",
    OTEL_TRACES_SAMPLER_ARG: "1",
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
  });
  const opened = await openTracing("ingester", {
    config,
    log: createLogger("test", { level: "silent", format: "json" }),
  });
  if (opened === undefined) throw new Error("traces are off");
  tracing = opened;
});
afterEach(() => collector.close());

const batch = (committedAtMs: number): NumberedBatch => ({
  number: 1,
  changes: 2,
  relation: { oid: 1, schema: "public", table: "todos", replicaIdentity: "d", columns: [] },
  first: parsePosition("1.0/64.0") as Position,
  last: parsePosition("1.0/64.1") as Position,
  lines: Buffer.from("123"),
  committedAtMicros: committedAtMs * 1000,
});

async function sent(): Promise<ReadonlyMap<string, CollectedSpan>> {
  await tracing.close(10_000);
  return new Map(collector.spans.map((span) => [span.name, span]));
}

describe("the trace of a batch", () => {
  it("begins with the commit and ends when the log has it", async () => {
    const traces = new BatchTraces(tracing);
    const committedAtMs = Date.now() - 5_000;
    traces.read({ hasOpenBatch: false });
    const append = traces.append(batch(committedAtMs));
    append?.end();
    const spans = await sent();
    expect(spans.get("ingest")).toMatchObject({
      start: BigInt(committedAtMs) * 1_000_000n,
      status: 0,
      attributes: {
        "walcast.first_position": "1.0/64.0",
        "walcast.last_position": "1.0/64.1",
        "walcast.relation": "public.todos",
        "walcast.changes": 2,
        "walcast.bytes": 3,
      },
    });
    expect(append?.traceparent).toContain(spans.get("append")?.spanId);
    expect(spans.get("ingest")?.end).toBe(spans.get("append")?.end);
  });

  it("counts from the first change of the batch, also when more was read since", async () => {
    const traces = new BatchTraces(tracing);
    traces.read({ hasOpenBatch: false });
    const firstReadBefore = BigInt(Math.ceil(Date.now() + 1)) * 1_000_000n;
    await new Promise((resolve) => setTimeout(resolve, 20));
    traces.read({ hasOpenBatch: true });
    traces.append(batch(0))?.end();
    const spans = await sent();
    expect(spans.get("transcode")?.start).toBeLessThanOrEqual(firstReadBefore);
    // A message outside of transactions has no time of its own: its trace begins when it was read.
    expect(spans.get("ingest")?.start).toBe(spans.get("transcode")?.start);
  });

  it("never ends before it begins where PostgreSQL's clock is ahead, and says what failed", async () => {
    const traces = new BatchTraces(tracing);
    traces.read({ hasOpenBatch: false });
    traces.append(batch(Date.now() + 60_000))?.end(new Error("refused"));
    const spans = await sent();
    expect([...spans.values()].every(({ start, end }) => start <= end)).toBe(true);
    expect([spans.get("ingest")?.status, spans.get("append")?.status, spans.get("read")?.status]).toEqual([2, 2, 0]);
  });
});
