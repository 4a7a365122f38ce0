import { randomBytes } from "node:crypto";
import { Client, escapeIdentifier } from "pg";
import { waitUntil } from "./wait-until.ts";

export interface TestDatabase {
  readonly url: string;
  readonly name: string;
  /** Drops it with its replication slots, whoever is still connected. Dropping twice is fine. */
  drop(): Promise<void>;
}

/** Creates a database of its own for a test, on the server that `adminUrl` points to. */
export async function createDatabase(adminUrl: string, name = uniqueName()): Promise<TestDatabase> {
  await withClient(adminUrl, (client) => client.query(`CREATE DATABASE ${escapeIdentifier(name)}`));
  const url = new URL(adminUrl);
  url.pathname = `/${encodeURIComponent(name)}`;
  return { url: url.href, name, drop: () => withClient(adminUrl, (client) => dropDatabase(client, name)) };
}

async function dropDatabase(client: Client, name: string): Promise<void> {
  // A slot keeps its database from being dropped, FORCE or not, and its walsender keeps the slot.
  const dropSlots = async (): Promise<boolean> => {
    await client.query(
      `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = $1 AND active_pid IS NOT NULL`,
      [name],
    );
    await client.query(
      `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1 AND NOT active`,
      [name],
    );
    const left = await client.query(`SELECT FROM pg_replication_slots WHERE database = $1`, [name]);
    return left.rowCount === 0;
  };
  await waitUntil(dropSlots, { what: `the replication slots of database ${name} to be dropped` });
  await client.query(`DROP DATABASE IF EXISTS ${escapeIdentifier(name)} WITH (FORCE)`);
}

async function withClient(url: string, use: (client: Client) => Promise<unknown>): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await use(client);
  } finally {
    await client.end();
  }
}

function uniqueName(): string {
  return `test_${randomBytes(6).toString("hex")}`;
}
