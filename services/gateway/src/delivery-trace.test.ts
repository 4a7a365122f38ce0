import { decodeBatch, encodeBatch, transactionLine, type LoggedBatch } from "@walcast/change-log";
import { loadConfig } from "@walcast/config";
import { parsePosition, type Position } from "@walcast/model";
import { createLogger, openTracing, tracingSettings, type Tracing } from "@walcast/telemetry";
import { startTraceCollector, type CollectedSpan, type TraceCollector } from "@walcast/testkit";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { traceDelivery } from "./delivery-trace.ts";
import type { Recipients } from "./delivery.ts";
import { Groups, type Group } from "./group.ts";

let collector: TraceCollector;
let tracing: Tracing;
beforeEach(async () => {
  collector = await startTraceCollector();
  const config = loadConfig(tracingSettings, {
    OTEL_TRACES_EXPORTER: "otlp",
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
  });
  const opened = await openTracing("gateway", {
    config,
    log: createLogger("test", { level: "silent", format: "json" }),
  });
  if (opened === undefined) throw new Error("traces are off");
  tracing = opened;
});
afterEach(() => collector.close());

const at = parsePosition("1.0/64.0") as Position;
const sampled = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", storedAtMs: Date.now() - 50 };

function batch(trace: LoggedBatch["trace"]): LoggedBatch {
  const relation = { oid: 1, schema: "public", table: "todos", replicaIdentity: "d", columns: [] } as const;
  const line = transactionLine({ commitLsnText: "0/64", committedAtMicros: 1, xid: 1, index: 0 });
  const bytes = encodeBatch({ relation, first: at, last: at, lines: Buffer.from(`${line}I\t{}\n`) }, undefined);
  return decodeBatch(bytes, trace);
}

const frames: string[] = [];
const recipients: Recipients = {
  groups: new Groups(),
  emit: (_group, frame) => void frames.push(frame.toString()),
};
const groupOf = (members: number): Group => ({ members }) as Group; // nothing else of it is looked at
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

async function sent(): Promise<readonly CollectedSpan[]> {
  await tracing.close(10_000);
  return collector.spans;
}

describe("the trace of a delivery", () => {
  it.each([
    ["no trace", undefined],
    ["a trace that is not in the sample", { ...sampled, traceparent: sampled.traceparent.replace(/01$/u, "00") }],
    ["what is no trace", { ...sampled, traceparent: "nonsense" }],
  ])("is not begun for a batch with %s", (_, trace) => {
    expect(traceDelivery(tracing, batch(trace))).toBeUndefined();
  });

  it("passes every frame on and counts it, with those that come later apart", async () => {
    frames.length = 0;
    const trace = traceDelivery(tracing, batch(sampled));
    const { emit } = trace?.watch(recipients) ?? recipients;
    emit(groupOf(3), Buffer.from("now"), at);
    emit(groupOf(2), Buffer.from("now, too"), at);
    trace?.matched(1);
    await turn();
    trace?.published();
    await turn();
    emit(groupOf(1), Buffer.from("asked"), at);
    await turn();

    expect(frames).toEqual(["now", "now, too", "asked"]);
    const spans = await sent();
    expect(spans.filter(({ name }) => name === "publish").map(({ attributes }) => attributes)).toEqual([
      { "walcast.frames": 2, "walcast.deliveries": 5, "walcast.bytes": 11 },
      { "walcast.frames": 1, "walcast.deliveries": 1, "walcast.bytes": 5 },
    ]);
    const [receive, authorise] = ["receive", "authorise"].map((name) => spans.find((span) => span.name === name));
    expect(Number(receive?.start) / 1e6).toBeCloseTo(sampled.storedAtMs, 0);
    expect(authorise?.start).toBe(spans.find(({ name }) => name === "match")?.end);
    expect(authorise?.end).toBe(spans.findLast(({ name }) => name === "publish")?.start);
    expect(new Set(spans.map(({ traceId }) => traceId))).toEqual(new Set(["0af7651916cd43dd8448eb211c80319c"]));
  });

  it("stays small for a batch that very many answers come for, and still passes every frame on", async () => {
    frames.length = 0;
    const trace = traceDelivery(tracing, batch(sampled));
    const { emit } = trace?.watch(recipients) ?? recipients;
    trace?.matched(1);
    trace?.published();
    for (let i = 0; i < 100; i++) {
      emit(groupOf(1), Buffer.from("asked"), at);
      await turn();
    }
    expect(frames.length).toBe(100);
    expect((await sent()).filter(({ name }) => name === "authorise").length).toBe(16);
  });

  it("never ends before it begins where the log's clock is ahead", async () => {
    const trace = traceDelivery(tracing, batch({ ...sampled, storedAtMs: Date.now() + 60_000 }));
    trace?.matched(1);
    trace?.published();
    const spans = await sent();
    expect(spans.map(({ name }) => name).toSorted()).toEqual(["deliver", "match", "receive"]);
    expect(spans.every(({ start, end }) => start <= end)).toBe(true);
  });
});
