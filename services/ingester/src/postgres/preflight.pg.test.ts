import { zeroLsn } from "@walcast/model";
import { connectClient, endClient } from "@walcast/postgres";
import { createDatabase, startPostgres, type TestDatabase } from "@walcast/testkit";
import { escapeIdentifier, type Client } from "pg";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { checkServer, ensurePublications } from "./preflight.ts";
import { ReplicationStream } from "./replication-stream.ts";
import { createSlot, dropSlot, inspectSlot } from "./slot.ts";

let database: TestDatabase;
let client: Client;
let version: number;

beforeAll(async () => {
  database = await createDatabase(inject("postgresUrl"));
  client = await connectClient({ connectionString: database.url }, { applicationName: "a test" });
  version = await checkServer(client);
});
afterAll(async () => {
  await endClient(client);
  await database.drop();
});

/** Slots belong to the whole server. */
const slotName = (name: string): string => `${name}_${database.name}`;

describe("checkServer", () => {
  it("tells the major version of a server that can stream", () => {
    expect(version).toBeGreaterThanOrEqual(13);
  });

  it("refuses a server whose wal_level is too low, with what to do", async () => {
    const server = await startPostgres({
      postgresFlags: ["-c", "wal_level=replica", "-c", "max_wal_senders=5"],
    });
    const own = await connectClient({ connectionString: server.url }, { applicationName: "a test" });
    await expect(checkServer(own)).rejects.toMatchObject({
      code: "WAL_LEVEL",
      message: expect.stringContaining("wal_level is replica; run ALTER SYSTEM SET wal_level = 'logical'"),
    });
    await endClient(own);
    await server.stop();
  });
});

describe("ensurePublications", () => {
  it("names all that are missing, quoted as SQL wants them", async () => {
    await client.query(`CREATE PUBLICATION there`);
    await expect(
      ensurePublications(client, { publications: ["there", 'Odd "one"', "other"], create: false }),
    ).rejects.toMatchObject({
      code: "PUBLICATION_MISSING",
      message: expect.stringContaining(
        'publication "Odd ""one""", "other" does not exist; run CREATE PUBLICATION "Odd ""one"""',
      ),
    });
    await expect(ensurePublications(client, { publications: ["there"], create: false })).resolves.toBeUndefined();
  });

  it("creates what is missing for all tables when it may", async () => {
    await ensurePublications(client, { publications: ["there", 'Made "here"'], create: true });
    const { rows } = await client.query("SELECT pubname, puballtables FROM pg_publication ORDER BY pubname");
    expect(rows).toEqual([
      { pubname: 'Made "here"', puballtables: true },
      { pubname: "there", puballtables: false },
    ]);
  });
});

describe("a slot", () => {
  it("is created once, seen, and dropped", async () => {
    const name = slotName("plain");
    expect(await inspectSlot(client, name)).toBeUndefined();
    const created = await createSlot(client, name, version);
    expect(created).toMatchObject({ isActive: false, walStatus: "reserved" });
    expect(created.confirmedLsn).toBeGreaterThan(zeroLsn);
    await client.query("CREATE TABLE rows AS SELECT generate_series(1, 1000) AS id");
    const seen = await inspectSlot(client, name);
    expect(seen?.confirmedLsn).toBe(created.confirmedLsn);
    expect(seen?.lagBytes).toBeGreaterThan(1000);
    await dropSlot(client, name);
    expect(await inspectSlot(client, name)).toBeUndefined();
  });

  it("survives a failover of the server where PostgreSQL can do that", async () => {
    const name = slotName("failover");
    await createSlot(client, name, version);
    const { rows } = await client.query<{ slot: { failover?: boolean; temporary: boolean } }>(
      "SELECT to_jsonb(s) AS slot FROM pg_replication_slots s WHERE slot_name = $1",
      [name],
    );
    expect(rows[0]?.slot.temporary).toBe(false);
    expect(rows[0]?.slot.failover).toBe(version >= 17 ? true : undefined);
    await dropSlot(client, name);
  });

  it.each([
    ["of another plugin", "test_decoding", "uses plugin test_decoding, not pgoutput"],
    ["for physical replication", undefined, "is a physical slot"],
  ])("%s is not read from", async (_, plugin, problem) => {
    const name = slotName(plugin ?? "physical");
    await (plugin === undefined
      ? client.query("SELECT pg_create_physical_replication_slot($1)", [name])
      : client.query("SELECT pg_create_logical_replication_slot($1, $2)", [name, plugin]));
    await expect(inspectSlot(client, name)).rejects.toMatchObject({
      code: "SLOT_MISMATCH",
      message: expect.stringContaining(`replication slot ${name} ${problem}; set SLOT_NAME`),
    });
    await dropSlot(client, name);
  });

  it("of another database is not read from", async () => {
    const other = await createDatabase(inject("postgresUrl"));
    const there = await connectClient({ connectionString: other.url }, { applicationName: "a test" });
    const name = slotName("elsewhere");
    await createSlot(there, name, version);
    await expect(inspectSlot(client, name)).rejects.toMatchObject({
      code: "SLOT_MISMATCH",
      message: expect.stringContaining("belongs to another database"),
    });
    await endClient(there);
    await other.drop();
  });

  it("that exists already is not created again", async () => {
    const name = slotName("twice");
    await createSlot(client, name, version);
    await expect(createSlot(client, name, version)).rejects.toMatchObject({ code: "42710" });
    await dropSlot(client, name);
  });
});

describe("a role without REPLICATION", () => {
  const role = () => escapeIdentifier(`reader_${database.name}`);
  const databaseOf = (): { connectionString: string } => {
    const url = new URL(database.url);
    url.username = `reader_${database.name}`;
    url.password = "reader";
    return { connectionString: url.href };
  };
  beforeAll(() => client.query(`CREATE ROLE ${role()} LOGIN PASSWORD 'reader'`));
  afterAll(() => client.query(`DROP ROLE ${role()}`));

  it("is told what it lacks when it creates a slot, and when it streams", async () => {
    const own = await connectClient(databaseOf(), { applicationName: "a test" });
    const lacking = { code: "REPLICATION_PRIVILEGE", message: expect.stringContaining("ALTER ROLE … REPLICATION") };
    await expect(createSlot(own, slotName("refused"), version)).rejects.toMatchObject(lacking);
    await endClient(own);
    const options = { slot: slotName("refused"), publications: ["there"], from: zeroLsn, confirmable: () => zeroLsn };
    await expect(ReplicationStream.start({ ...options, database: databaseOf() })).rejects.toMatchObject(lacking);
  });
});

describe("ReplicationStream", () => {
  const start = (slot: string, publications: readonly string[]) =>
    ReplicationStream.start({
      database: { connectionString: database.url },
      slot,
      publications,
      from: zeroLsn,
      confirmable: () => zeroLsn,
    });

  it("says that a slot is in use when somebody else reads it", async () => {
    const name = slotName("busy");
    await createSlot(client, name, version);
    const first = await start(name, ["there"]);
    await expect(start(name, ["there"])).rejects.toMatchObject({
      code: "SLOT_BUSY",
      message: expect.stringContaining(`replication slot ${name} is in use`),
    });
    expect(await inspectSlot(client, name)).toMatchObject({ isActive: true });
    await first.stop();
    const second = await start(name, ["there"]);
    await second.stop();
  });

  it("streams what is committed, from publications and slots with odd names", async () => {
    const name = slotName("stream");
    await createSlot(client, name, version);
    await client.query(
      'CREATE PUBLICATION "Odd, \'name\' ""x""" FOR ALL TABLES; CREATE TABLE streamed (id int PRIMARY KEY)',
    );
    const stream = await start(name, [`Odd, 'name' "x"`]);
    const stop = new AbortController();
    const tags: string[] = [];
    await client.query("INSERT INTO streamed VALUES (1), (2)");
    for await (const { messages } of stream.turns(stop.signal)) {
      tags.push(...messages.map((message) => String.fromCharCode(message[0] ?? 0)));
      if (tags.includes("C") && tags.includes("I")) stop.abort();
    }
    expect(tags.join("")).toMatch(/BRIIC$/);
    await stream.stop();
  });
});
