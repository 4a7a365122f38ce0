import { startNats, startPostgres, waitUntil, type ServerProcess } from "@walcast/testkit";
import { afterEach, describe, expect, inject, it } from "vitest";
import { startBalancer } from "./balancer.ts";
import { startCluster, untilHealthy, untilLeader, untilProblem, type Cluster } from "./cluster.ts";
import { connectClient, isSubscribed, type TestSubscription } from "./realtime-clients.ts";

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop();
});

async function start(options: {
  ingesters?: number;
  postgres?: ServerProcess;
  nats?: ServerProcess;
}): Promise<Cluster> {
  const cluster = await startCluster({
    postgresUrl: options.postgres?.url ?? inject("postgresUrl"),
    natsUrl: options.nats?.url ?? inject("natsUrl"),
    ingesters: options.ingesters ?? 1,
  });
  stops.push(() => cluster.stop());
  await cluster.sql.query("CREATE TABLE t (id int PRIMARY KEY)");
  return cluster;
}

const ownServer = async (server: Promise<ServerProcess>): Promise<ServerProcess> => {
  const started = await server;
  stops.push(() => started.stop());
  return started;
};

async function subscribed({ url }: Pick<Cluster, "url">): Promise<TestSubscription> {
  const client = connectClient("2.119.0", url);
  stops.push(() => Promise.resolve(client.disconnect()));
  const subscription = client.subscribe({ table: "t" });
  await waitUntil(() => isSubscribed(subscription), { what: "the subscription" });
  return subscription;
}

const ids = ({ changes }: TestSubscription): unknown[] => changes.map(({ record }) => record["id"]);
const upTo = (last: number): number[] => Array.from({ length: last }, (_, i) => i + 1);
const arrived = (subscription: TestSubscription, last: number): Promise<unknown> =>
  waitUntil(() => subscription.changes.length >= last, {
    what: `${last} changes, there are ${subscription.changes.length}`,
    timeoutMs: 30_000,
  });

/** Commits rows one by one until told to stop; resolves with how many. A commit that failed is tried again. */
function write(cluster: Cluster): () => Promise<number> {
  let isStopped = false;
  const written = (async () => {
    let id = 0;
    while (!isStopped) {
      id++;
      await cluster.sql.query("INSERT INTO t VALUES ($1)", [id]);
    }
    return id;
  })();
  return () => {
    isStopped = true;
    return written;
  };
}

describe("ingesters", () => {
  it.each(["kill9", "stop"] as const)(
    "a standby takes over from a leader that is gone (%s), with nothing lost or repeated",
    async (how) => {
      const cluster = await start({ ingesters: 2 });
      const subscription = await subscribed(cluster);
      const stopWriting = write(cluster);
      await arrived(subscription, 50);
      const leader = await untilLeader(cluster.ingesters);
      await leader.process[how]();
      const next = await untilLeader(cluster.ingesters.filter((ingester) => ingester !== leader));
      expect(next).not.toBe(leader);
      const seen = subscription.changes.length;
      await arrived(subscription, seen + 100);
      const rows = await stopWriting();
      await arrived(subscription, rows);
      expect(ids(subscription)).toEqual(upTo(rows));
    },
  );

  it("a standby ends a leader that is frozen; woken, it cannot write, notices, and stands by", async () => {
    const cluster = await start({ ingesters: 2 });
    const subscription = await subscribed(cluster);
    const stopWriting = write(cluster);
    await arrived(subscription, 50);
    const leader = await untilLeader(cluster.ingesters);
    const [standby] = cluster.ingesters.filter((ingester) => ingester !== leader);
    if (standby === undefined) return expect.fail("there is no standby");
    leader.process.pause();
    const seen = subscription.changes.length;
    await untilLeader([standby]);
    await arrived(subscription, seen + 100);
    leader.process.resume();
    await waitUntil(async () => (await leader.health()).role === "standby", {
      what: "the woken leader to stand by",
      timeoutMs: 20_000,
    });
    await arrived(subscription, subscription.changes.length + 100);
    const rows = await stopWriting();
    await arrived(subscription, rows);
    expect(ids(subscription)).toEqual(upTo(rows));
    await standby.process.waitForLine("the leader is silent: its connections were ended");
  });

  it("a single ingester that was killed goes on where the log ends", async () => {
    const cluster = await start({});
    const subscription = await subscribed(cluster);
    await cluster.sql.query("INSERT INTO t VALUES (1)");
    await arrived(subscription, 1);
    await cluster.ingesters[0]?.process.kill9();
    await cluster.sql.query("INSERT INTO t VALUES (2), (3)");
    await untilHealthy(await cluster.addIngester());
    await arrived(subscription, 3);
    expect(ids(subscription)).toEqual([1, 2, 3]);
  });

  it("a terminated walsender or leader connection costs nothing", async () => {
    const cluster = await start({});
    const subscription = await subscribed(cluster);
    const stopWriting = write(cluster);
    for (const name of ["walcast replication", "walcast ingester"]) {
      await arrived(subscription, subscription.changes.length + 50);
      const killed = await cluster.sql.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()",
        [name],
      );
      expect(killed.rowCount).toBe(1);
    }
    await arrived(subscription, subscription.changes.length + 50);
    const rows = await stopWriting();
    await arrived(subscription, rows);
    expect(ids(subscription)).toEqual(upTo(rows));
  });
});

describe("servers that crash", () => {
  it("NATS: health says so, and after its restart everything arrives once and in order", async () => {
    const nats = await ownServer(startNats());
    const cluster = await start({ nats });
    const subscription = await subscribed(cluster);
    const [ingester, gateway] = [cluster.ingesters[0], cluster.gateways[0]];
    if (ingester === undefined || gateway === undefined) return expect.fail("the cluster has no services");
    await cluster.sql.query("INSERT INTO t SELECT generate_series(1, 100)");
    await arrived(subscription, 100);
    await nats.kill9();
    await cluster.sql.query("INSERT INTO t SELECT generate_series(101, 200)");
    expect((await untilProblem(ingester, "CHANGE_LOG_UNAVAILABLE")).message).toContain("check that NATS runs");
    await nats.restart();
    await cluster.sql.query("INSERT INTO t SELECT generate_series(201, 300)");
    await arrived(subscription, 300);
    expect(ids(subscription)).toEqual(upTo(300));
    await untilHealthy(ingester);
    await untilHealthy(gateway);
  });

  it("PostgreSQL: health says so, and after its restart everything arrives once and in order", async () => {
    const postgres = await ownServer(startPostgres());
    const cluster = await start({ postgres });
    const subscription = await subscribed(cluster);
    const [ingester] = cluster.ingesters;
    if (ingester === undefined) return expect.fail("the cluster has no ingester");
    await cluster.sql.query("INSERT INTO t SELECT generate_series(1, 100)");
    await arrived(subscription, 100);
    await postgres.kill9();
    expect((await untilProblem(ingester, "DATABASE_UNAVAILABLE")).message).toContain("DATABASE_URL");
    await postgres.restart();
    const { Client } = await import("pg");
    const sql = new Client({ connectionString: cluster.database.url });
    await sql.connect();
    await sql.query("INSERT INTO t SELECT generate_series(101, 200)");
    await sql.end();
    await arrived(subscription, 200);
    expect(ids(subscription)).toEqual(upTo(200));
    await untilHealthy(ingester);
  });
});

it("a client whose gateway was killed comes back by itself and goes on receiving", async () => {
  const cluster = await start({});
  await untilHealthy(await cluster.addGateway());
  // Node's own WebSocket never says that it was refused, and a client waits for that: behind a balancer none is.
  const balancer = await startBalancer(() => cluster.gateways.map(({ port }) => port));
  stops.push(() => Promise.resolve(balancer.stop()));
  const subscription = await subscribed({ url: `ws://127.0.0.1:${balancer.port}/socket` });
  const [gateway] = cluster.gateways;
  if (gateway === undefined) return expect.fail("the cluster has no gateway");
  await gateway.process.kill9();
  const again = (): number =>
    subscription.system.filter(({ message }) => message === "Subscribed to PostgreSQL").length;
  await waitUntil(() => again() === 2, { what: "the client to subscribe again", timeoutMs: 20_000 });
  await cluster.sql.query("INSERT INTO t VALUES (1)");
  await arrived(subscription, 1);
  expect(ids(subscription)).toEqual([1]);
});
