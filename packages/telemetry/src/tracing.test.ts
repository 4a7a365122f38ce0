import { Writable } from "node:stream";
import { loadConfig } from "@walcast/config";
import { freePort, spawnService, startTraceCollector, waitUntil, type TraceCollector } from "@walcast/testkit";
import { pino } from "pino";
import { afterEach, describe, expect, it } from "vitest";
import { openTracing, tracingSettings, type Logger, type Tracing } from "./index.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

async function collector(port?: number): Promise<TraceCollector> {
  const started = await startTraceCollector(port);
  ends.push(() => started.close());
  return started;
}

const logTo = (lines: string[]): Logger =>
  pino({}, new Writable({ write: (chunk, _, done) => (lines.push(String(chunk)), done()) }));

async function open(env: Readonly<Record<string, string>>, logged: string[] = []): Promise<Tracing> {
  const config = loadConfig(tracingSettings, { OTEL_TRACES_EXPORTER: "otlp", OTEL_TRACES_SAMPLER_ARG: "1", ...env });
  const tracing = await openTracing("ingester", { config, log: logTo(logged) });
  if (tracing === undefined) throw new Error("it is off");
  ends.push(() => tracing.close(10_000));
  return tracing;
}

const traceparent = (flags: string): string => `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-${flags}`;

describe("tracing", () => {
  it("is off by default, and nothing of it is loaded then", async () => {
    expect(await openTracing("ingester", { config: loadConfig(tracingSettings, {}), log: logTo([]) })).toBeUndefined();
    const entry = new URL("test-loaded.ts", import.meta.url).pathname;
    const loaded = async (exporter: string): Promise<readonly string[]> => {
      const process = spawnService({ entry, env: {}, args: [exporter], name: "what is loaded" });
      expect(await process.exit).toMatchObject({ code: 0 });
      return process.lines;
    };
    expect(await loaded("none")).toEqual([]);
    expect(await loaded("otlp")).not.toEqual([]);
  });

  it("sends spans with their times, parents and attributes, below the collector's URL", async () => {
    const { url, spans, requests } = await collector();
    const tracing = await open({
      OTEL_EXPORTER_OTLP_ENDPOINT: `${url}/otlp/`,
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Basic%20abc=,x-tenant=one",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment=test,service.name=other",
    });
    const whole = tracing.begin("whole", { atMs: 1_700_000_000_000.25 });
    const part = whole?.child("part", { atMs: 1_700_000_000_001, kind: "producer", attributes: { size: 7 } });
    part?.end({ atMs: 1_700_000_000_002.5, attributes: { place: "here" }, error: new Error("refused") });
    whole?.end({ atMs: 1_700_000_000_003 });
    await tracing.close(10_000);

    expect(requests).toMatchObject([
      { path: "/otlp/v1/traces", headers: { authorization: "Basic abc=", "x-tenant": "one" } },
    ]);
    const [first, second] = [spans.find(({ name }) => name === "whole"), spans.find(({ name }) => name === "part")];
    expect(first).toMatchObject({ service: "walcast-ingester", parentSpanId: undefined, kind: 1, status: 0 });
    expect(first?.resource).toMatchObject({ "deployment.environment": "test" });
    expect([first?.start, first?.end]).toEqual([1_700_000_000_000_250_000n, 1_700_000_000_003_000_000n]);
    expect(second).toMatchObject({
      traceId: first?.traceId,
      parentSpanId: first?.spanId,
      kind: 4,
      status: 2,
      attributes: { size: 7, place: "here" },
    });
    expect(part?.traceparent).toBe(`00-${second?.traceId}-${second?.spanId}-01`);
  });

  it("samples what it begins by the ratio, and goes on with whatever is in the sample", async () => {
    const { url } = await collector();
    const start = { atMs: Date.now() };
    const none = await open({ OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_TRACES_SAMPLER_ARG: "0" });
    expect(none.begin("x", start)).toBeUndefined();
    expect(none.goOn(traceparent("01"), "x", start)?.traceparent).toMatch(
      /^00-0af7651916cd43dd8448eb211c80319c-.*-01$/u,
    );
    const all = await open({ OTEL_EXPORTER_OTLP_ENDPOINT: url });
    expect(all.begin("x", start)).toBeDefined();
    expect(all.goOn(traceparent("00"), "x", start)).toBeUndefined();
    const half = await open({ OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_TRACES_SAMPLER_ARG: "0.5" });
    const begun = Array.from({ length: 400 }, () => half.begin("x", start)).filter((span) => span !== undefined);
    expect(begun.length).toBeGreaterThan(120);
    expect(begun.length).toBeLessThan(280);
  });

  it.each(["", "00", traceparent("01").slice(1), `00-${"0".repeat(32)}-b7ad6b7169203331-01`, "\0"])(
    "begins nothing by %j, which is no traceparent",
    async (text) => {
      const tracing = await open({ OTEL_EXPORTER_OTLP_ENDPOINT: (await collector()).url });
      expect(tracing.goOn(text, "x", { atMs: Date.now() })).toBeUndefined();
    },
  );

  it("says once that exports fail, and nothing else comes of it", async () => {
    const logged: string[] = [];
    const port = await freePort();
    const away = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`, OTEL_EXPORTER_OTLP_TIMEOUT: "100" };
    const tracing = await open(away, logged);
    // Many more than the queue holds.
    for (let i = 0; i < 10_000; i++) tracing.begin("x", { atMs: Date.now() })?.end({ atMs: Date.now() });
    await waitUntil(() => logged.length > 0, { what: "a warning" });
    await tracing.close(10_000);
    expect(logged).toEqual([expect.stringContaining("traces cannot be exported")]);
  });
});

describe("its settings", () => {
  it.each([
    ["OTEL_TRACES_EXPORTER", "zipkin", "must be one of none, otlp"],
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", 'must be an http or https URL, is "collector:4318"'],
    ["OTEL_EXPORTER_OTLP_HEADERS", "secret-without-a-name", "must be name=value pairs"],
    ["OTEL_EXPORTER_OTLP_TIMEOUT", "0", "must be a whole number"],
    ["OTEL_TRACES_SAMPLER_ARG", "1.5", 'must be a number between 0 and 1, is "1.5"'],
    ["OTEL_TRACES_SAMPLER_ARG", "-0.1", "must be a number between 0 and 1"],
    ["OTEL_TRACES_SAMPLER_ARG", "many", "must be a number between 0 and 1"],
    ["OTEL_RESOURCE_ATTRIBUTES", "a=%E0%A4%A", "must be name=value pairs"],
  ])("%s=%s is refused: %s", (name, value, reason) => {
    const read = (): unknown => loadConfig(tracingSettings, { [name]: value });
    expect(read).toThrow(`${name}: ${reason}`);
    expect(read).not.toThrow("secret-without");
  });

  it.each([
    ["", 0.01],
    ["0", 0],
    ["1", 1],
    [".25", 0.25],
    ["1.0", 1],
  ])("OTEL_TRACES_SAMPLER_ARG=%s is %d", (text, share) => {
    const env = text === "" ? {} : { OTEL_TRACES_SAMPLER_ARG: text };
    expect(loadConfig(tracingSettings, env).OTEL_TRACES_SAMPLER_ARG).toBe(share);
  });
});
