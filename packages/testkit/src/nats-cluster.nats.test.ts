import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { afterEach, expect, test } from "vitest";
import { startNatsCluster, type NatsCluster } from "./nats-cluster.ts";
import { waitUntil } from "./wait-until.ts";

let cluster: NatsCluster | undefined;
afterEach(async () => {
  await cluster?.stop();
});

test("a NATS cluster stores in three copies and goes on without one of its servers", async () => {
  cluster = await startNatsCluster();
  const connection = await connect({
    servers: cluster.url.split(","),
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
  });
  expect(connection.info?.connect_urls).toBeUndefined();
  const manager = await jetstreamManager(connection);
  await waitUntil(() => manager.streams.add({ name: "testkit", subjects: ["testkit"], num_replicas: 3 }), {
    what: "a stream with three copies",
  });
  await manager.jetstream().publish("testkit", "first");
  await cluster.servers[0]?.kill9();
  await waitUntil(async () => (await manager.jetstream().publish("testkit", "second")).seq >= 2, {
    what: "an acknowledgement from two servers",
    timeoutMs: 20_000,
  });
  await cluster.servers[0]?.restart();
  await connection.close();
});
