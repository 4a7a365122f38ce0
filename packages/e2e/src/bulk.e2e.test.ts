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
