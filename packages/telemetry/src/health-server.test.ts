import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { startHealthServer } from "./health-server.ts";
import { Counter, Health, Registry } from "./index.ts";

const started: Awaited<ReturnType<typeof startHealthServer>>[] = [];
afterEach(() => {
  for (const server of started.splice(0)) server.close();
});

async function start(parts: { health?: Health; registry?: Registry; port?: number } = {}): Promise<string> {
  const { health = new Health(), registry = new Registry(), port = 0 } = parts;
  const server = await startHealthServer({ host: "127.0.0.1", port, health, registry });
  started.push(server);
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("the health server", () => {
  it("answers /healthz with the report, 503 when something is wrong", async () => {
    const health = new Health();
    const url = await start({ health });
    const well = await fetch(`${url}/healthz?verbose=1`);
    expect([well.status, await well.json()]).toEqual([200, { status: "ok", problems: [] }]);
    health.set("log", new Error("gone"));
    const ill = await fetch(`${url}/healthz`);
    expect(ill.status).toBe(503);
    expect(await ill.json()).toMatchObject({ status: "failing", problems: [{ part: "log", message: "gone" }] });
  });

  it("answers /livez while anything is wrong, and /readyz not while draining", async () => {
    const health = new Health();
    let isDraining = false;
    const server = await startHealthServer({
      host: "127.0.0.1",
      port: 0,
      health,
      registry: new Registry(),
      isReady: () => !isDraining,
    });
    started.push(server);
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const statuses = (): Promise<number[]> =>
      Promise.all(["livez", "healthz", "readyz"].map(async (path) => (await fetch(`${url}/${path}`)).status));
    expect(await statuses()).toEqual([200, 200, 200]);
    isDraining = true;
    expect(await statuses()).toEqual([200, 200, 503]);
    health.set("log", new Error("gone"));
    expect(await statuses()).toEqual([200, 503, 503]);
  });

  it("answers /metrics with what the registry holds, and nothing else", async () => {
    const registry = new Registry();
    new Counter({ name: "test_total", help: "A test", registers: [registry] }).inc(3);
    const url = await start({ registry });
    const metrics = await fetch(`${url}/metrics`);
    expect(metrics.headers.get("content-type")).toBe(registry.contentType);
    expect(await metrics.text()).toContain("test_total 3");
    expect((await fetch(`${url}/`)).status).toBe(404);
  });

  it("rejects when its port is taken", async () => {
    const { port } = new URL(await start());
    await expect(start({ port: Number(port) })).rejects.toMatchObject({ code: "EADDRINUSE" });
  });
});
