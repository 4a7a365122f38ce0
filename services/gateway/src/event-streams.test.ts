import { expect, it } from "vitest";
import { startTestGateway, type TestGateway } from "./test-gateway.ts";
import { waitUntil } from "@walcast/testkit";

const open = (gateway: TestGateway, signal?: AbortSignal): Promise<Response> =>
  fetch(`${gateway.base}/sse?topic=room`, signal === undefined ? {} : { signal });
const connections = (gateway: TestGateway): Promise<number> => gateway.metric("walcast_gateway_connections");

it("event streams count as connections while they last", async () => {
  const gateway = await startTestGateway({ env: { MAX_CONNECTIONS: "2" } });
  const leaving = new AbortController();
  const streams = [await open(gateway, leaving.signal), await open(gateway)];
  expect(streams.map(({ status }) => status)).toEqual([200, 200]);
  expect([await connections(gateway), (await open(gateway)).status]).toEqual([2, 503]);
  leaving.abort();
  await waitUntil(async () => (await connections(gateway)) === 1, { what: "the first to be gone" });
  expect((await open(gateway)).status).toBe(200);
});
