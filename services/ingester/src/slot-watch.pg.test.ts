import { zeroLsn } from "@walcast/model";
import { connectClient, endClient } from "@walcast/postgres";
import { Health, Registry } from "@walcast/telemetry";
import { createDatabase, waitUntil, type TestDatabase } from "@walcast/testkit";
import type { Client } from "pg";
import { afterEach, beforeEach, expect, inject, it } from "vitest";
import { readConfig } from "./config.ts";
import { createMetrics } from "./metrics.ts";
import { dropSlot } from "./postgres/slot.ts";
import { watchSlot } from "./slot-watch.ts";

let database: TestDatabase;
let client: Client;
beforeEach(async () => {
  database = await createDatabase(inject("postgresUrl"));
  client = await connectClient({ connectionString: database.url }, { applicationName: "a test" });
  await client.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [database.name]);
});
afterEach(async () => {
  await dropSlot(client, database.name);
  await endClient(client);
  await database.drop();
});

it("says nothing of a slot any more once it has stopped, for whatever reason", async () => {
  const [registry, health] = [new Registry(), new Health()];
  const watcher = await connectClient({ connectionString: database.url }, { applicationName: "a watcher" });
  // Caught from the start on: it may be refused before the query that ends its connection has been answered.
  const refused = watchSlot({
    client: watcher,
    config: readConfig({ SLOT_NAME: database.name }),
    health,
    metrics: createMetrics(registry),
    publishedLsn: () => zeroLsn,
    onLag: () => undefined,
    signal: new AbortController().signal,
    inspectEveryMs: 20,
  }).catch((error: unknown) => error);
  const series = async (): Promise<string[]> =>
    (await registry.metrics()).split("\n").filter((line) => line.startsWith("walcast_ingester_slot_"));
  await waitUntil(async () => (await series()).length === 3, { what: "the slot's gauges" });
  health.set("slot", new Error("in danger"));
  await client.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'a watcher'");
  expect(await refused).toMatchObject({ message: expect.stringMatching(/terminat|connection error/u) as string });
  expect([await series(), health.report().problems]).toEqual([[], []]);
  await endClient(watcher);
});
