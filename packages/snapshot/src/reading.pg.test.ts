import type { Column } from "@walcast/model";
import type { TypeInfo } from "@walcast/pgoutput";
import { parseFilter } from "@walcast/subscriptions";
import { createDatabase, type TestDatabase } from "@walcast/testkit";
import { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { SnapshotReading, type ReadingOptions } from "./reading.ts";
import type { TableRequest } from "./table-query.ts";

let database: TestDatabase;
let admin: Client;
let client: Client;
const types = new Map<number, TypeInfo>();

beforeAll(async () => {
  database = await createDatabase(inject("postgresUrl"));
  admin = new Client({ connectionString: database.url });
  await admin.connect();
  await admin.query("CREATE PUBLICATION everything FOR ALL TABLES");
});
afterAll(async () => {
  await admin.end();
  await database.drop();
});
beforeEach(async () => {
  client = new Client({ connectionString: database.url });
  client.on("error", () => undefined);
  await client.connect();
  await admin.query(`
    DROP TABLE IF EXISTS t, p CASCADE;
    CREATE TABLE t (id int PRIMARY KEY, note text);
    INSERT INTO t SELECT i, 'note ' || i FROM generate_series(1, 1000) AS i;
    CREATE TABLE p (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
    CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
    CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (100);
    INSERT INTO p SELECT i, 'note ' || i FROM generate_series(1, 20) AS i`);
});
afterEach(() => client.end());

const columns: readonly Column[] = [
  { name: "id", type: "int4", typeOid: 23, typeModifier: -1, isKey: false },
  { name: "note", type: "text", typeOid: 25, typeModifier: -1, isKey: false },
];

async function request(table: string, more: Partial<TableRequest> = {}): Promise<TableRequest> {
  const { rows } = await admin.query<{ oid: string; attributes: number }>(
    "SELECT oid::int8, relnatts AS attributes FROM pg_class WHERE oid = to_regclass($1)",
    [table],
  );
  const about = {
    oid: Number(rows[0]?.oid),
    attributes: rows[0]?.attributes ?? 0,
    schema: "public",
    table,
    columns,
    sent: columns,
  };
  return { ...about, filter: [], order: [], limit: undefined, ...more };
}

const begin = (more: Partial<ReadingOptions> = {}): Promise<SnapshotReading> =>
  SnapshotReading.begin({
    client,
    types,
    publications: ["everything"],
    principal: undefined,
    timeoutMs: 5_000,
    maxRows: 10_000,
    ...more,
  });

async function read(reading: SnapshotReading, wanted: TableRequest, pageRows = 400): Promise<readonly number[][]> {
  const pages: number[][] = [];
  for await (const page of reading.rows(wanted, pageRows)) {
    pages.push(page.map((row) => (JSON.parse(row.toString()) as { id: number }).id));
  }
  return pages;
}

describe("a table that was described as it is no more", () => {
  it.each([
    ["a column more", "ALTER TABLE t ADD COLUMN more int"],
    ["a column less", "ALTER TABLE t DROP COLUMN note"],
    ["another name of a column", "ALTER TABLE t RENAME COLUMN note TO remark"],
    ["another type", "ALTER TABLE t ALTER COLUMN id TYPE text"],
  ])("is to be described anew: %s", async (_, alter) => {
    const wanted = await request("t");
    await admin.query(alter);
    const reading = await begin();
    await expect(read(reading, wanted)).rejects.toThrow("table public.t was altered meanwhile");
    await reading.end();
  });
});

describe("a reading", () => {
  it("sees all tables as they were when it began", async () => {
    const reading = await begin();
    await admin.query("DELETE FROM t WHERE id > 10; INSERT INTO p VALUES (99)");
    expect((await read(reading, await request("t"))).flat()).toHaveLength(1_000);
    expect((await read(reading, await request("p"))).flat()).toHaveLength(20);
    await reading.end();
    const after = await begin();
    expect((await read(after, await request("t"))).flat()).toHaveLength(10);
  });

  it("comes in pages that are no larger than asked for, and smaller for large rows", async () => {
    await admin.query("UPDATE t SET note = repeat('x', 100000) WHERE id <= 60");
    const byId = { order: [{ column: "id", isDescending: false, nulls: undefined }] };
    const sizes = (await read(await begin(), await request("t", byId))).map((page) => page.length);
    expect(sizes.slice(0, 3)).toEqual([50, 2, 2]);
    expect(Math.max(...sizes)).toBe(400);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(1_000);
  });

  it.each([
    ["TRUNCATE t", "t"],
    ["ALTER TABLE t ALTER id TYPE int8", "t"],
    ["TRUNCATE p2", "p"],
  ])("is interrupted by %s, which would leave it without rows", async (sql, table) => {
    const wanted = await request(table);
    const reading = await begin();
    await admin.query(sql);
    await expect(read(reading, wanted)).rejects.toMatchObject({ code: "SNAPSHOT_INTERRUPTED" });
  });

  it("goes on where a column was added, and is interrupted where one was dropped or the table was", async () => {
    const wanted = await request("t");
    const added = await begin();
    await admin.query("ALTER TABLE t ADD more int DEFAULT 7");
    expect((await read(added, wanted)).flat()).toHaveLength(1_000);
    await added.end();
    const dropped = await begin();
    await admin.query("ALTER TABLE t DROP note");
    await expect(read(dropped, wanted)).rejects.toMatchObject({ code: "SNAPSHOT_INTERRUPTED" });
    await dropped.end();
    const gone = await begin();
    await admin.query("DROP TABLE t");
    await expect(read(gone, wanted)).rejects.toMatchObject({ code: "SNAPSHOT_INTERRUPTED" });
  });

  it("keeps TRUNCATE waiting while it reads, and no writer", async () => {
    const reading = await begin();
    const rows = reading.rows(await request("t"), 10);
    await rows.next();
    await admin.query("UPDATE t SET note = 'written'");
    await expect(admin.query("SET lock_timeout = 100; TRUNCATE t")).rejects.toMatchObject({ code: "55P03" });
    await rows.return(undefined);
    await reading.end();
    await admin.query("RESET lock_timeout");
  });

  it("has the rows that a publication publishes", async () => {
    const { rows: version } = await admin.query<{ n: number }>(
      "SELECT current_setting('server_version_num')::int AS n",
    );
    const isFiltered = (version[0]?.n ?? 0) >= 150_000; // PostgreSQL 14 knows no row filters
    await admin.query(`CREATE PUBLICATION few FOR TABLE t ${isFiltered ? "WHERE (id <= 5)" : ""}`);
    const found = (await read(await begin({ publications: ["few"] }), await request("t"))).flat();
    await admin.query("DROP PUBLICATION few");
    expect(found).toHaveLength(isFiltered ? 5 : 1_000);
  });

  it("gives up when PostgreSQL takes too long, and when there are too many rows", async () => {
    await admin.query("INSERT INTO t SELECT i, 'x' FROM generate_series(2000, 400000) AS i");
    const slow = {
      filter: parseFilter("note=match.(x+x+)+y"),
      order: [{ column: "note", isDescending: true, nulls: undefined }],
    };
    const hasty = await begin({ timeoutMs: 20 });
    await expect(read(hasty, await request("t", slow))).rejects.toThrow(/took too long to read/);
    await hasty.end();
    await expect(read(await begin({ maxRows: 999 }), await request("t"))).rejects.toThrow(/more than 999 rows/);
  });

  it("says where it stands: what it sees was committed before, what it does not see was not", async () => {
    const other = new Client({ connectionString: database.url });
    await other.connect();
    await other.query("BEGIN");
    const { rows } = await other.query<{ xid: string }>("SELECT pg_current_xact_id()::text AS xid");
    const xid = Number(BigInt(rows[0]?.xid ?? 0) % 2n ** 32n);
    const { place } = await begin();
    await other.query("COMMIT");
    await other.end();
    const later = await admin.query<{ xid: string }>("SELECT pg_current_xact_id()::text AS xid");
    expect(place.sees.inProgress.has(xid) || xid >= place.sees.xmax).toBe(true);
    expect(place.nextXid).toBeLessThanOrEqual(Number(BigInt(later.rows[0]?.xid ?? 0) % 2n ** 32n));
    expect(place.nextXid).toBeGreaterThan(xid);
    expect(place.waitsForStandbys).toBe(false);
  });
});
