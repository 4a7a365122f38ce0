import { connectClient, databaseOf, endClient } from "@walcast/postgres";
import { describeError } from "@walcast/telemetry";
import { readStandalone } from "./config.ts";

// `npm run sql -- "…"`: runs SQL on the database that `npm start` uses; the embedded PostgreSQL comes without psql.

const statement = process.argv.slice(2).join(" ").trim();
const { config, isDatabaseGiven } = readStandalone();
const database = isDatabaseGiven
  ? databaseOf(config)
  : { connectionString: `postgres://postgres:postgres@127.0.0.1:${config.EMBEDDED_POSTGRES_PORT}/postgres` };

try {
  if (statement === "") throw new Error(`give it a statement: npm run sql -- "SELECT 1"`);
  const client = await connectClient(database, { applicationName: "walcast sql" });
  try {
    const results = [await client.query<Record<string, unknown>>(statement)].flat();
    for (const { command, rowCount, rows, fields } of results) {
      if (fields.length > 0) console.table(rows);
      console.log(`${command} ${rowCount ?? 0}`);
    }
  } finally {
    await endClient(client);
  }
} catch (error) {
  const { code, message } = describeError(error);
  console.error(`${code}: ${message}`);
  process.exitCode = 1;
}
