import { createLogger } from "@walcast/telemetry";
import { createDatabase, waitUntil, type TestDatabase } from "@walcast/testkit";
import { Client } from "pg";
import { afterEach, beforeEach, expect, inject, it } from "vitest";
import { keepSchema } from "./schema-keeper.ts";

let database: TestDatabase;
let client: Client;
let stop: AbortController;
let lines: { readonly level: string; readonly msg: string }[];
beforeEach(async () => {
  database = await createDatabase(inject("postgresUrl"));
  client = new Client({ connectionString: database.url });
  await client.connect();
  stop = new AbortController();
  lines = [];
});
afterEach(async () => {
  stop.abort();
  await client.end();
  await database.drop();
});

function keep({ isMigrating = false, url = database.url } = {}): Promise<void> {
  const destination = { write: (line: string) => void lines.push(JSON.parse(line) as (typeof lines)[number]) };
  const log = createLogger("a test", { level: "info", format: "json", destination });
  const options = { database: { connectionString: url }, publications: ["p"], isMigrating, log, intervalMs: 20 };
  return keepSchema(options, stop.signal);
}

const partitions = async (): Promise<number> =>
  Number(
    (
      await client.query<{ n: string }>(
        "SELECT count(*) AS n FROM pg_inherits WHERE inhparent = 'realtime.messages'::regclass",
      )
    ).rows[0]?.n,
  );
const today = "realtime.%I', 'messages_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM_DD')";

it("brings the schema up to date as soon as the publication is there, and makes what is missing of its partitions", async () => {
  const kept = keep({ isMigrating: true });
  await client.query("SELECT pg_sleep(0.3)");
  await client.query("CREATE PUBLICATION p");
  await waitUntil(() => lines.some(({ msg }) => msg === "schema realtime is up to date"), { what: "the migration" });
  const { rows } = await client.query("SELECT schemaname || '.' || tablename AS name FROM pg_publication_tables");
  expect(rows.map(({ name }: { name: string }) => name)).toContain(`realtime.messages_${dayOf(0)}`);
  expect(await partitions()).toBe(5);
  await client.query(`DO $$ BEGIN EXECUTE format('DROP TABLE ${today}); END $$`);
  await waitUntil(async () => (await partitions()) === 5, { what: "today's partition" });
  stop.abort();
  await kept;
});

it("says nothing where there is no schema to keep, and what to do where it may not", async () => {
  const kept = keep();
  await client.query("SELECT pg_sleep(0.3)");
  expect(lines).toEqual([]);
  stop.abort();
  await kept;
  stop = new AbortController();
  await client.query("CREATE PUBLICATION p");
  const migrated = keep({ isMigrating: true });
  await waitUntil(() => lines.length > 0, { what: "the migration" });
  stop.abort();
  await migrated;
  stop = new AbortController();
  lines.length = 0;
  await client.query("DROP ROLE IF EXISTS keeps_nothing; CREATE ROLE keeps_nothing LOGIN PASSWORD 'x'");
  const url = new URL(database.url);
  url.username = "keeps_nothing";
  url.password = "x";
  const refused = keep({ url: url.href });
  await waitUntil(() => lines.length > 0, { what: "the complaint" });
  expect(lines[0]).toMatchObject({ remedy: expect.stringContaining("--gateway-role") as unknown });
  stop.abort();
  await refused;
  await client.query("DROP ROLE keeps_nothing");
});

const dayOf = (days: number): string =>
  new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10).replaceAll("-", "_");
