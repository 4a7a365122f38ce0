import { streamName } from "@walcast/change-log";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { waitUntil } from "@walcast/testkit";
import { Client } from "pg";
import { afterEach, describe, expect, inject, it } from "vitest";
import { startCluster, untilHealthy, type Cluster } from "./cluster.ts";
import { connectClient, isSubscribed, type TestSubscription } from "./realtime-clients.ts";

// A slot sees what commits after it was made, and making one waits for every transaction that runs.

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop();
});

async function start(options: { ingesters?: number; gateways?: number } = {}): Promise<Cluster> {
  const cluster = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    schema: "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION supabase_realtime FOR TABLE t",
    ...options,
  });
  stops.push(() => cluster.stop());
  return cluster;
}

async function subscribe(cluster: Cluster): Promise<TestSubscription> {
  const client = connectClient("2.119.0", cluster.url);
  stops.push(() => Promise.resolve(client.disconnect()));
  const subscription = client.subscribe({ table: "t" });
  await waitUntil(() => isSubscribed(subscription), { what: "the subscription" });
  return subscription;
}

/** A transaction that holds up the making of slots until it is ended. */
async function longTransaction(cluster: Cluster): Promise<() => Promise<unknown>> {
  const client = new Client({ connectionString: cluster.database.url });
  await client.connect();
  stops.push(() => client.end());
  await client.query("BEGIN");
  await client.query("SELECT txid_current()");
  return () => client.query("COMMIT");
}

const gaps = ({ system }: TestSubscription): number => system.filter(({ extension }) => extension === "resume").length;
const ids = ({ changes }: TestSubscription): unknown[] => changes.map(({ record }) => record["id"]);
const toldOfGaps = (subscription: TestSubscription, count: number): Promise<unknown> =>
  waitUntil(() => gaps(subscription) === count, {
    what: `${count} gaps, told of ${gaps(subscription)}`,
    timeoutMs: 20_000,
  });
const arrived = (subscription: TestSubscription, expected: readonly number[]): Promise<unknown> =>
  waitUntil(() => JSON.stringify(ids(subscription)) === JSON.stringify(expected), {
    what: `rows ${expected.join()}, there are ${ids(subscription).join()}`,
    timeoutMs: 20_000,
  });

async function untilSlotIsMade({ sql, database }: Cluster): Promise<void> {
  const isBeingMade = async (): Promise<boolean> => {
    const { rowCount } = await sql.query(
      "SELECT FROM pg_stat_activity WHERE datname = $1 AND query LIKE '%pg_create_logical%'",
      [database.name],
    );
    return (rowCount ?? 0) > 1; // this query is one
  };
  await waitUntil(isBeingMade, { what: "the slot to be asked for" });
}

describe("what commits before the slot is there is a gap to who subscribed before", () => {
  it("when a slot is made anew: told at once, and again when the slot is there", async () => {
    const cluster = await start();
    const subscription = await subscribe(cluster);
    await cluster.sql.query("INSERT INTO t VALUES (1)");
    await arrived(subscription, [1]);
    await cluster.ingesters[0]?.process.stop();
    await cluster.sql.query("SELECT pg_drop_replication_slot($1)", [cluster.database.name]);
    const endTransaction = await longTransaction(cluster);
    const ingester = await cluster.addIngester();
    await toldOfGaps(subscription, 1);
    await untilSlotIsMade(cluster);
    await cluster.sql.query("INSERT INTO t VALUES (2)");
    await endTransaction();
    await untilHealthy(ingester);
    await toldOfGaps(subscription, 2);
    await cluster.sql.query("INSERT INTO t VALUES (3)");
    await arrived(subscription, [1, 3]);
    expect(gaps(subscription)).toBe(2);
  });

  it("when the first slot is made", async () => {
    const cluster = await start({ ingesters: 0, gateways: 0 });
    const endTransaction = await longTransaction(cluster);
    const ingester = await cluster.addIngester();
    await untilSlotIsMade(cluster);
    await untilHealthy(await cluster.addGateway());
    const subscription = await subscribe(cluster);
    await cluster.sql.query("INSERT INTO t VALUES (1)");
    await endTransaction();
    await untilHealthy(ingester);
    await toldOfGaps(subscription, 1);
    await cluster.sql.query("INSERT INTO t VALUES (2)");
    await arrived(subscription, [2]);
    expect(gaps(subscription)).toBe(1);
  });
});

// The slot gives what it has not confirmed once more; of a loss beyond that, subscribers are told by a gap.
describe("a stream that is deleted", () => {
  it.each(["first", "second"])(
    "in its %s epoch: nothing that follows is lost on those who read the former one",
    async (epoch) => {
      const cluster = await start();
      const { sql, database } = cluster;
      const subscription = await subscribe(cluster);
      if (epoch === "second") {
        await cluster.ingesters[0]?.process.stop();
        await sql.query("SELECT pg_drop_replication_slot($1)", [database.name]);
        await untilHealthy(await cluster.addIngester());
      }
      await sql.query("INSERT INTO t VALUES (1)");
      await arrived(subscription, [1]);
      await deleteStream(database.name);
      await sql.query("INSERT INTO t VALUES (2)");
      await waitUntil(() => ids(subscription).includes(2), { what: "the next change", timeoutMs: 90_000 });
      await sql.query("INSERT INTO t VALUES (3)");
      await waitUntil(() => ids(subscription).includes(3), { what: "what comes then" });
      expect(ids(subscription).slice(-2)).toEqual([2, 3]);
    },
    120_000,
  );
});

async function deleteStream(source: string): Promise<void> {
  const nats = await connect({ servers: inject("natsUrl") });
  try {
    await (await jetstreamManager(nats)).streams.delete(streamName(source));
  } finally {
    await nats.close();
  }
}
