import { createDatabase, type TestDatabase } from "@walcast/testkit";
import { Client } from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from "vitest";
import { createPublicationCatalog, type PublicationCatalog, type PublishedTable } from "./publication-catalog.ts";

let database: TestDatabase;
let client: Client;
const catalogs: PublicationCatalog[] = [];

beforeAll(async () => {
  database = await createDatabase(inject("postgresUrl"));
  client = new Client({ connectionString: database.url });
  await client.connect();
  await client.query(`
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    ALTER TYPE mood ADD VALUE 'ok' BEFORE 'happy';
    CREATE DOMAIN inner_mood AS mood;
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN more_positive AS positive;
    CREATE TABLE todos (id int8 PRIMARY KEY, gone text, "Odd ""name""" more_positive, price numeric(8,2), tags text[], m mood, i inner_mood);
    ALTER TABLE todos DROP COLUMN gone;
    CREATE TABLE unpublished (id int);
    CREATE TABLE covered (id int, room int, note text, PRIMARY KEY (room, id) INCLUDE (note));
    CREATE TABLE bare ();
    CREATE SCHEMA "Odd.Schema";
    CREATE TABLE "Odd.Schema"."Ta ""b""le*" (a int);
    CREATE TABLE measured (at date) PARTITION BY RANGE (at);
    CREATE TABLE measured_2024 PARTITION OF measured FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    CREATE PUBLICATION chosen FOR TABLE todos, bare, "Odd.Schema"."Ta ""b""le*", measured;
    CREATE PUBLICATION everything FOR ALL TABLES`);
});
afterEach(async () => {
  for (const catalog of catalogs.splice(0)) await catalog.close();
});
afterAll(async () => {
  await client.end();
  await database.drop();
});

function open(publications: readonly string[], options: { url?: string; now?: () => number } = {}): PublicationCatalog {
  const { url = database.url, ...rest } = options;
  const catalog = createPublicationCatalog({ connectionString: url }, { publications, ...rest });
  catalogs.push(catalog);
  return catalog;
}
const describeOne = async (
  catalog: PublicationCatalog,
  schema: string,
  table: string,
): Promise<PublishedTable | undefined> => (await catalog.describe(schema, table, { limit: 1 }))[0];
const columnNames = async (catalog: PublicationCatalog, schema: string, table: string): Promise<unknown> =>
  (await describeOne(catalog, schema, table))?.columns.map(({ name }) => name);

describe("the publication catalog", () => {
  it("describes a table's columns, with the types below domains, and the labels of enums in their order", async () => {
    const labels = ["sad", "ok", "happy"];
    const described = await describeOne(open(["chosen"]), "public", "todos");
    expect(described).toMatchObject({ schema: "public", table: "todos", primaryKey: ["id"] });
    expect(described?.columns.map(({ typeOid, ...column }) => ({ ...column, hasOid: typeOid > 0 }))).toEqual([
      { name: "id", type: "int8", typeModifier: -1, isKey: false, hasOid: true },
      { name: 'Odd "name"', type: "more_positive", baseType: "int4", typeModifier: -1, isKey: false, hasOid: true },
      { name: "price", type: "numeric", typeModifier: ((8 << 16) | 2) + 4, isKey: false, hasOid: true },
      { name: "tags", type: "_text", typeModifier: -1, isKey: false, hasOid: true },
      { name: "m", type: "mood", labels, typeModifier: -1, isKey: false, hasOid: true },
      { name: "i", type: "inner_mood", baseType: "mood", labels, typeModifier: -1, isKey: false, hasOid: true },
    ]);
  });

  it("tells an enum without labels from what is no enum", async () => {
    await client.query("CREATE TYPE nothing AS ENUM (); CREATE TABLE hollow (a nothing, b nothing[], c int)");
    const columns = (await describeOne(open(["everything"]), "public", "hollow"))?.columns ?? [];
    expect(columns.map(({ labels }) => labels)).toEqual([[], undefined, undefined]);
  });

  it("takes a key for its columns, and not for those that its index covers besides", async () => {
    expect((await describeOne(open(["everything"]), "public", "covered"))?.primaryKey).toEqual(["id", "room"]);
  });

  it("knows only what its publications publish", async () => {
    expect(await describeOne(open(["chosen"]), "public", "unpublished")).toBeUndefined();
    expect(await describeOne(open(["chosen"]), "public", "missing")).toBeUndefined();
    expect(await describeOne(open(["chosen"]), "missing", "*")).toBeUndefined();
    expect(await describeOne(open(["missing"]), "public", "todos")).toBeUndefined();
    expect(await columnNames(open(["everything"]), "public", "unpublished")).toEqual(["id"]);
    expect(await columnNames(open(["missing", "chosen"]), "public", "todos")).toContain("price");
  });

  it("finds names that need quoting, takes * alone for everything, % for any text, and _ as it is", async () => {
    expect(await columnNames(open(["chosen"]), "Odd.Schema", 'Ta "b"le*')).toEqual(["a"]);
    expect(await columnNames(open(["chosen"]), "Odd.Schema", "*")).toEqual(["a"]);
    expect(await columnNames(open(["chosen"]), "*", "todos")).toHaveLength(6);
    expect(await describeOne(open(["chosen"]), "*", "*")).toBeDefined();
    expect(await columnNames(open(["chosen"]), "Odd%", "%le*")).toEqual(["a"]);
    expect(await describeOne(open(["chosen"]), "Odd_Schema", "*")).toBeUndefined();
    expect(await describeOne(open(["chosen"]), "public", "tod_s")).toBeUndefined();
  });

  it("knows a table without columns, and partitions by their own names", async () => {
    expect(await columnNames(open(["chosen"]), "public", "bare")).toEqual([]);
    expect(await columnNames(open(["chosen"]), "public", "measured_2024")).toEqual(["at"]);
  });

  it("knows the primary key, in whatever place its columns are", async () => {
    await client.query("CREATE TABLE lines (note text, number int, document int, PRIMARY KEY (document, number))");
    expect(await describeOne(open(["everything"]), "public", "lines")).toMatchObject({
      primaryKey: ["number", "document"],
    });
    expect(await describeOne(open(["everything"]), "public", "unpublished")).toMatchObject({ primaryKey: [] });
  });

  it("knows as many tables as are asked for", async () => {
    const tables = await open(["chosen"]).describe("*", "*", { limit: 3 });
    expect(tables.map(({ table }) => table)).toEqual(['Ta "b"le*', "bare", "measured_2024"]);
  });

  it("leaves out what is not published: generated columns, and those a publication does not list", async () => {
    await client.query(
      "CREATE TABLE part (id int PRIMARY KEY, a int, secret int, twice int GENERATED ALWAYS AS (a * 2) STORED)",
    );
    expect(await columnNames(open(["everything"]), "public", "part")).toEqual(["id", "a", "secret"]);
    if (inject("postgresVersion") < 15) return;
    await client.query("CREATE PUBLICATION listed FOR TABLE part (id, a)");
    expect(await columnNames(open(["listed"]), "public", "part")).toEqual(["id", "a"]);
    expect(await columnNames(open(["listed", "everything"]), "public", "part")).toEqual(["id", "a", "secret"]);
  });

  it("finds at once what was published a moment ago, and keeps an answer for a while", async () => {
    let now = 0;
    const catalog = open(["chosen"], { now: () => now });
    await client.query("CREATE TABLE fresh (a int)");
    expect(await describeOne(catalog, "public", "fresh")).toBeUndefined();
    await client.query("ALTER PUBLICATION chosen ADD TABLE fresh");
    expect(await columnNames(catalog, "public", "fresh")).toEqual(["a"]);
    await client.query("ALTER TABLE fresh ADD COLUMN b int");
    expect(await columnNames(catalog, "public", "fresh")).toEqual(["a"]);
    now += 1;
    const anew = await catalog.describe("public", "fresh", { limit: 1, notBeforeMs: now });
    expect(anew[0]?.columns.map(({ name }) => name)).toEqual(["a", "b"]);
    expect(await catalog.describe("public", "fresh", { limit: 1, notBeforeMs: now })).toBe(anew);
    await client.query("ALTER TABLE fresh DROP COLUMN b, ADD COLUMN c int");
    expect(await columnNames(catalog, "public", "fresh")).toEqual(["a", "b"]);
    now += 2_000;
    expect(await columnNames(catalog, "public", "fresh")).toEqual(["a", "c"]);
    await client.query("ALTER PUBLICATION chosen DROP TABLE fresh");
    now += 2_000;
    expect(await describeOne(catalog, "public", "fresh")).toBeUndefined();
    expect(await describeOne(catalog, "public", "fresh")).toBeUndefined();
  });

  describe("while the database is away", () => {
    it("says so to who asks for the first time", async () => {
      const catalog = open(["chosen"], { url: "postgres://127.0.0.1:1/x" });
      await expect(describeOne(catalog, "public", "todos")).rejects.toMatchObject({ code: "DATABASE_UNAVAILABLE" });
      await expect(describeOne(catalog, "public", "todos")).rejects.toMatchObject({ code: "DATABASE_UNAVAILABLE" });
    });

    it("gives former answers, however many ask at once", async () => {
      const own = await createDatabase(inject("postgresUrl"));
      const there = new Client({ connectionString: own.url });
      await there.connect();
      await there.query("CREATE TABLE todos (a int); CREATE PUBLICATION chosen FOR ALL TABLES");
      await there.end();
      let now = 0;
      const catalog = open(["chosen"], { url: own.url, now: () => now });
      expect(await columnNames(catalog, "public", "todos")).toEqual(["a"]);
      await own.drop();
      for (let round = 0; round < 2; round++) {
        now += 2_000;
        const storm = Array.from({ length: 5 }, () => columnNames(catalog, "public", "todos"));
        expect(await Promise.all(storm)).toEqual(Array.from({ length: 5 }, () => ["a"]));
      }
      await expect(describeOne(catalog, "public", "other")).rejects.toMatchObject({ code: "DATABASE_UNAVAILABLE" });
    });
  });
});
