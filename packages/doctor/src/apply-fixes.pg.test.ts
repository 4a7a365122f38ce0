import { startPostgres, waitUntil } from "@walcast/testkit";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { applyFixes } from "./apply-fixes.ts";
import { collect, examine } from "./examine.ts";
import { isUnreachable } from "./facts.ts";
import type { Fix } from "./finding.ts";
import { codes, findingsOf, healthyRoles, healthySite, run, startServers } from "./test-site.ts";

// What the proposed statements do to a real PostgreSQL.

let servers: Awaited<ReturnType<typeof startServers>>;
beforeAll(async () => (servers = await startServers()), 120_000);
afterAll(() => servers.stop());

it("fixes what is safe, as far as its role may, and says what was refused", async () => {
  const { settings, sql } = await healthySite(servers);
  await sql(
    "CREATE TABLE keyless (a int); GRANT SELECT ON keyless TO anon; ALTER PUBLICATION supabase_realtime ADD TABLE keyless",
    "CREATE TABLE theirs (a int); GRANT SELECT ON theirs TO anon; ALTER PUBLICATION supabase_realtime ADD TABLE theirs",
    "GRANT CREATE ON SCHEMA public TO walcast; ALTER TABLE keyless OWNER TO walcast; REVOKE ALL ON orders FROM authenticated",
  );
  const found = await findingsOf(settings);
  expect(codes(found)).toEqual(["error IDENTITY_MISSING", "error IDENTITY_MISSING", "warning TABLE_UNREADABLE"]);
  expect(await applyFixes(settings.database, found)).toEqual([
    { statement: "ALTER TABLE keyless REPLICA IDENTITY FULL", problem: undefined },
    { statement: "ALTER TABLE theirs REPLICA IDENTITY FULL", problem: "must be owner of table theirs" },
  ]);
  expect(codes(await findingsOf(settings))).toEqual(["error IDENTITY_MISSING", "warning TABLE_UNREADABLE"]);
});

it("does not wait for a table that somebody uses: others would wait behind it", async () => {
  const { settings, sql, databaseUrl } = await healthySite(servers);
  await sql(
    "CREATE TABLE keyless (a int); GRANT SELECT ON keyless TO anon; ALTER PUBLICATION supabase_realtime ADD TABLE keyless",
    "GRANT CREATE ON SCHEMA public TO walcast; ALTER TABLE keyless OWNER TO walcast",
  );
  const found = await findingsOf(settings);
  const reader = new pg.Client({ connectionString: databaseUrl });
  await reader.connect();
  try {
    await reader.query("BEGIN; SELECT FROM keyless");
    expect(await applyFixes(settings.database, found)).toEqual([
      {
        statement: "ALTER TABLE keyless REPLICA IDENTITY FULL",
        problem: expect.stringMatching(/^somebody has used the table for more than 2 s \(.*lock timeout\)/u),
      },
    ]);
  } finally {
    await reader.end();
  }
  expect(await applyFixes(settings.database, found)).toEqual([expect.objectContaining({ problem: undefined })]);
});

describe("how much WAL is kept", () => {
  it("SLOT_ENDANGERED, WAL_UNLIMITED: what is proposed can be run, and never is less than what a slot needs", async () => {
    const server = await startPostgres();
    onTestFinished(() => server.stop());
    await run(server.url, healthyRoles);
    const { settings, sql } = await healthySite({ ...servers, postgres: server });
    await sql(
      "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'",
      "SELECT pg_reload_conf()",
      `SELECT pg_create_logical_replication_slot('${settings.slot}', 'pgoutput')`,
      "CREATE TABLE heap (a text)",
    );
    for (let round = 0; round < 4; round++)
      await sql("INSERT INTO heap SELECT repeat('x', 500) FROM generate_series(1, 20000); SELECT pg_switch_wal()");
    const facts = await collect(settings);
    if (isUnreachable(facts.postgres)) throw new Error(facts.postgres.unreachable);
    const { postgres } = facts;
    expect(postgres.keptBytes).toBeGreaterThan(2 ** 25);
    const fixOf = (code: string, changed: Partial<typeof postgres>): Fix | undefined =>
      examine({ ...facts, postgres: { ...postgres, ...changed } }, settings).find((found) => found.code === code)?.fix;
    const gigabytes = (count: number): RegExp => new RegExp(`max_slot_wal_keep_size = '${count}GB';\n`, "u");
    expect(fixOf("SLOT_ENDANGERED", { slotKeepBytes: 200 * 2 ** 30 })?.text).toMatch(gigabytes(400));
    expect(fixOf("SLOT_ENDANGERED", { keptBytes: 60.2 * 2 ** 30 })?.text).toMatch(gigabytes(121));
    expect(fixOf("WAL_UNLIMITED", { slotKeepBytes: undefined })?.text).toMatch(gigabytes(10));
    expect(fixOf("WAL_UNLIMITED", { slotKeepBytes: undefined, keptBytes: 2 ** 35 })?.text).toMatch(gigabytes(64));
    const lost = { ...postgres.slot, walStatus: "lost" } as NonNullable<typeof postgres.slot>;
    expect(fixOf("SLOT_LOST", { slot: lost, slotKeepBytes: 2 ** 37 })?.text).toMatch(gigabytes(256));
    expect(fixOf("SLOT_LOST", { slot: lost, slotKeepBytes: undefined })?.kind).toBe("elsewhere");

    // `--fix` would leave this one to people.
    const endangered = examine(facts, settings).filter(({ code }) => code === "SLOT_ENDANGERED");
    const [found] = endangered.map((finding) => ({ ...finding, fix: { ...finding.fix, isSafe: true } }));
    expect(found?.fix.text).toBe("ALTER SYSTEM SET max_slot_wal_keep_size = '50GB';\nSELECT pg_reload_conf();");
    const superuser = { connectionString: server.url };
    expect(await applyFixes(superuser, found === undefined ? [] : [found])).toEqual([
      { statement: "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'", problem: undefined },
      { statement: "SELECT pg_reload_conf()", problem: undefined },
    ]);
    const isSaved = async (): Promise<boolean> => !codes(await findingsOf(settings)).includes("error SLOT_ENDANGERED");
    await waitUntil(isSaved, { what: "a slot that is out of danger" });
    await sql("CHECKPOINT");
    expect(codes(await findingsOf(settings))).toEqual(["warning SLOT_INACTIVE"]);

    // Who may not do the first has nothing of the second.
    expect(await applyFixes(settings.database, found === undefined ? [] : [found])).toEqual([
      {
        statement: "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'",
        problem: expect.stringMatching(/permission denied|must be superuser/u),
      },
    ]);
  });
});
