import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { Health, Registry } from "@walcast/telemetry";
import { expect, it } from "vitest";
import { withHealthPort } from "./health-port.ts";

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

it("is not ready from when draining begins, and gone when it has ended", async () => {
  const drained = Promise.withResolvers<void>();
  const port = await freePort();
  const service = await withHealthPort(
    { name: "slow", run: () => Promise.resolve(), drain: () => drained.promise },
    { port, host: "127.0.0.1", health: new Health(), registry: new Registry() },
  );
  const status = async (path: string): Promise<number> => (await fetch(`http://127.0.0.1:${port}${path}`)).status;
  expect(service.name).toBe("slow");
  expect(await status("/readyz")).toBe(200);

  const draining = service.drain?.();
  expect([await status("/readyz"), await status("/healthz"), await status("/livez")]).toEqual([503, 200, 200]);
  drained.resolve();
  await draining;
  await expect(status("/livez")).rejects.toThrow("fetch failed");
});
