import { waitUntil } from "@walcast/testkit";
import { expect, inject, it } from "vitest";
import { startCluster } from "./cluster.ts";
import { clientVersions, connectClient, isSubscribed } from "./realtime-clients.ts";

it("100,000 rows of one statement arrive complete and in order, at a client of each generation", async () => {
  const cluster = await startCluster({ postgresUrl: inject("postgresUrl"), natsUrl: inject("natsUrl") });
  await cluster.sql.query("CREATE TABLE bulk (id int PRIMARY KEY, body text)");
  const rows = 100_000;
  const clients = clientVersions.map((version) => connectClient(version, cluster.url));
  const subscriptions = clients.map((client) => client.subscribe({ table: "bulk" }));
  await waitUntil(() => subscriptions.every(isSubscribed), { what: "the subscriptions" });
  await cluster.sql.query(`INSERT INTO bulk SELECT i, 'row ' || i FROM generate_series(1, ${rows}) AS i`);
  await waitUntil(() => subscriptions.every(({ changes }) => changes.length >= rows), {
    what: "all rows at all clients",
    timeoutMs: 50_000,
  });
  for (const { changes } of subscriptions) {
    expect(changes).toHaveLength(rows);
    // One comparison: a hundred thousand expectations would take longer than the rows did.
    expect(changes.findIndex(({ event, record }, i) => event !== "INSERT" || record["id"] !== i + 1)).toBe(-1);
  }
  for (const client of clients) client.disconnect();
  await cluster.stop();
});

it("rows far above NATS's message limit arrive whole: 1, 8 and 64 MiB", async () => {
  const cluster = await startCluster({
    postgresUrl: inject("postgresUrl"),
    natsUrl: inject("natsUrl"),
    env: { OUTBOX_LIMIT_BYTES: String(256 * 2 ** 20), MAX_RECORD_BYTES: "0" },
  });
  await cluster.sql.query("CREATE TABLE big (id int PRIMARY KEY, body text)");
  const client = connectClient("2.119.0", cluster.url);
  const subscription = client.subscribe({ table: "big" });
  await waitUntil(() => isSubscribed(subscription), { what: "the subscription" });
  const lengths = [1, 8, 64].map((mebibytes) => mebibytes * 2 ** 20);
  for (const [i, length] of lengths.entries()) {
    await cluster.sql.query("INSERT INTO big VALUES ($1, repeat('0123456789abcdef', $2::int / 16))", [i, length]);
  }
  await cluster.sql.query("INSERT INTO big VALUES (3, 'small')");
  await waitUntil(() => subscription.changes.length === 4, { what: "all rows", timeoutMs: 40_000 });
  expect(subscription.changes.map(({ record }) => String(record["body"]).length)).toEqual([...lengths, 5]);
  const last = String(subscription.changes[2]?.record["body"]);
  expect(last === "0123456789abcdef".repeat(64 * 2 ** 16)).toBe(true);
  client.disconnect();
  await cluster.stop();
});
