import { waitUntil } from "@walcast/testkit";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { startCluster, type Cluster } from "./cluster.ts";
import {
  clientVersions,
  connectClient,
  isSubscribed,
  legacyVersions,
  type TestClient,
  type TestSubscription,
} from "./realtime-clients.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ postgresUrl: inject("postgresUrl"), natsUrl: inject("natsUrl") });
});
afterAll(() => cluster.stop());

/** A table of its own, so that tests share a cluster without seeing each other's rows. */
async function createTable(name: string, rest = ""): Promise<void> {
  await cluster.sql.query(
    `CREATE TABLE ${name} (id bigint PRIMARY KEY, status int, name text, price numeric, at timestamptz); ${rest}`,
  );
}

const live = (...subscriptions: TestSubscription[]): Promise<unknown> =>
  waitUntil(() => subscriptions.every((subscription) => isSubscribed(subscription)), {
    what: "subscriptions to be live",
  });

const count = (subscription: TestSubscription, changes: number): Promise<unknown> =>
  waitUntil(() => subscription.changes.length >= changes, {
    what: `${changes} changes, there are ${JSON.stringify(subscription.changes)}`,
  });

describe.each(clientVersions)("realtime-js %s", (version) => {
  let client: TestClient;
  beforeAll(() => {
    client = connectClient(version, cluster.url);
  });
  afterAll(() => client.disconnect());

  it("receives inserts, updates with the old record, and deletes of a table", async () => {
    const table = `all_${version.replaceAll(".", "_")}`;
    await createTable(table, `ALTER TABLE ${table} REPLICA IDENTITY FULL`);
    const subscription = client.subscribe({ table });
    await live(subscription);
    await cluster.sql.query(`INSERT INTO ${table} VALUES (1, 1, 'café "☕"', 12.50, '2024-02-29 10:00:00.123456+00')`);
    await cluster.sql.query(`UPDATE ${table} SET status = 2 WHERE id = 1`);
    await cluster.sql.query(`DELETE FROM ${table}`);
    await count(subscription, 3);
    const row = { id: 1, status: 1, name: 'café "☕"', price: 12.5, at: "2024-02-29T10:00:00.123456+00:00" };
    expect(subscription.changes.map(({ event, record, oldRecord }) => ({ event, record, oldRecord }))).toEqual([
      { event: "INSERT", record: row, oldRecord: {} },
      { event: "UPDATE", record: { ...row, status: 2 }, oldRecord: row },
      { event: "DELETE", record: {}, oldRecord: { ...row, status: 2 } },
    ]);
    for (const { raw } of subscription.changes) {
      expect(raw).toMatchObject({ schema: "public", table, errors: null });
      expect(raw["commit_timestamp"]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    }
  });

  it("receives what its filter lets through, and the key alone as the old record of a default identity", async () => {
    const table = `filtered_${version.replaceAll(".", "_")}`;
    await createTable(table);
    const [one, other] = [
      client.subscribe({ table, filter: "status=eq.1" }),
      client.subscribe({ table, filter: "status=eq.2" }),
    ];
    await live(one, other);
    await cluster.sql.query(`INSERT INTO ${table} VALUES (10, 1), (20, 2), (30, 3), (40, NULL)`);
    await cluster.sql.query(`UPDATE ${table} SET status = 2 WHERE id = 10`);
    await count(other, 2);
    expect(one.changes.map(({ event, record }) => [event, record["id"]])).toEqual([["INSERT", 10]]);
    expect(other.changes.map(({ event, record, oldRecord }) => [event, record["id"], oldRecord])).toEqual([
      ["INSERT", 20, {}],
      ["UPDATE", 10, { id: 10 }],
    ]);
  });

  it("receives the changes of a whole schema", async () => {
    const schema = `s_${version.replaceAll(".", "_")}`;
    await cluster.sql.query(
      `CREATE SCHEMA ${schema}; CREATE TABLE ${schema}.a (id int); CREATE TABLE ${schema}.b (id int)`,
    );
    const subscription = client.subscribe(version.startsWith("1.") ? { schema } : { schema, table: "*" });
    await live(subscription);
    await cluster.sql.query(`INSERT INTO ${schema}.a VALUES (1)`);
    await cluster.sql.query(`INSERT INTO ${schema}.b VALUES (2)`);
    await count(subscription, 2);
    expect(subscription.changes.map(({ raw, record }) => [raw["table"], record["id"]])).toEqual([
      ["a", 1],
      ["b", 2],
    ]);
  });
});

describe.each(legacyVersions)("realtime-js %s", (version) => {
  it("receives truncates, columns with flags, and everything on realtime:*", async () => {
    const table = `legacy_${version.replaceAll(".", "_")}`;
    await createTable(table);
    const client = connectClient(version, cluster.url);
    const [everything, one] = [client.subscribe({ schema: "*" }), client.subscribe({ table })];
    await live(everything, one);
    await cluster.sql.query(`INSERT INTO ${table} (id) VALUES (1)`);
    await cluster.sql.query(`TRUNCATE ${table}`);
    await count(one, 2);
    await count(everything, 2);
    const ofTable = everything.changes.filter(({ raw }) => raw["table"] === table);
    expect(ofTable.map(({ event }) => event)).toEqual(["INSERT", "TRUNCATE"]);
    expect(one.changes[1]?.raw).toMatchObject({ type: "TRUNCATE", schema: "public", table });
    expect(one.changes[0]?.raw["columns"]).toContainEqual({
      name: "id",
      type: "int8",
      type_modifier: 4294967295,
      flags: ["key"],
    });
    expect(one.changes[0]?.raw["columns"]).toContainEqual({
      name: "name",
      type: "text",
      type_modifier: 4294967295,
      flags: [],
    });
    client.disconnect();
  });
});

describe("filters, typed by column", () => {
  it.each([
    ["status=eq.2", [2]],
    ["status=neq.2", [1, 3, 10]],
    ["status=lt.3", [1, 2]],
    ["status=lte.3", [1, 2, 3]],
    ["status=gt.2", [3, 10]],
    ["status=gte.3", [3, 10]],
    ["status=in.(1, 10)", [1, 10]],
    ["price=eq.2", [2]],
    ["price=gt.2.5", [3, 10]],
    ["name=lt.n2", [1, 10]],
    ["at=gte.2024-01-03 01:00:00+01", [3, 10]],
    ["status=gte.2,price=lt.5", [2, 3]],
    ["status=not.eq.2", [1, 3, 10]],
  ])("%s", async (filter, ids) => {
    const table = `f_${filter.replaceAll(/\W/gu, "_")}`;
    await createTable(table);
    const client = connectClient("2.119.0", cluster.url);
    const [filtered, all] = [client.subscribe({ table, filter }), client.subscribe({ table })];
    await live(filtered, all);
    for (const id of [1, 2, 3, 10]) {
      await cluster.sql.query(
        `INSERT INTO ${table} SELECT i, i, 'n' || i, i + 0.0, '2024-01-01'::timestamptz + (i - 1) * interval '1 day'
           FROM (SELECT $1::int AS i) AS one`,
        [id],
      );
    }
    await cluster.sql.query(`INSERT INTO ${table} (id) VALUES (99)`);
    await count(all, 5);
    expect(filtered.changes.map(({ record }) => record["id"])).toEqual(ids);
    client.disconnect();
  });
});
