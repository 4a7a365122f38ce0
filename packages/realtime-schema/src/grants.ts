import { sqlStateOf } from "@walcast/postgres";
import { escapeIdentifier, type ClientBase } from "pg";
import { MessagesPublicationMissingError, MigrationPrivilegeError } from "./errors.ts";
import { clientRoles } from "./roles.ts";

/** What clients' roles need to be asked about (protocol.md 5.2); roles that are made later get it at the next migration. */
export async function grantToClients(client: ClientBase): Promise<void> {
  const names = clientRoles.map(({ name }) => name);
  const { rows } = await client.query<{ name: string }>(
    "SELECT rolname AS name FROM pg_roles WHERE rolname = ANY($1::text[])",
    [names],
  );
  for (const role of rows.map(({ name }) => escapeIdentifier(name))) {
    await client.query(`GRANT USAGE ON SCHEMA realtime TO ${role}`);
    await client.query(`GRANT SELECT, INSERT, UPDATE ON realtime.messages TO ${role}`);
  }
}

/**
 * What the gateway's role needs to ask for rights in private channels: to insert probe rows, which no policy of clients may
 * hinder, and to keep the partitions. A row without event is no broadcast to anybody (protocol.md 5.4).
 */
export async function prepareGateway(client: ClientBase, gatewayRole: string): Promise<void> {
  const role = escapeIdentifier(gatewayRole);
  const { rows } = await client.query<{ has_policy: boolean; has_janitor: boolean }>(`
    SELECT EXISTS (SELECT FROM pg_policy WHERE polrelid = 'realtime.messages'::regclass AND polname = 'walcast_probe')
             AS has_policy,
           to_regprocedure('realtime.walcast_drop_old_partitions(interval)') IS NOT NULL AS has_janitor`);
  try {
    await client.query(`GRANT USAGE ON SCHEMA realtime TO ${role}`);
    await client.query(`GRANT INSERT (id, topic, extension) ON realtime.messages TO ${role}`);
    await client.query(
      rows[0]?.has_policy === true
        ? `ALTER POLICY walcast_probe ON realtime.messages TO ${role} WITH CHECK (event IS NULL)`
        : `CREATE POLICY walcast_probe ON realtime.messages FOR INSERT TO ${role} WITH CHECK (event IS NULL)`,
    );
    if (rows[0]?.has_janitor !== true) return;
    await client.query(`GRANT EXECUTE ON FUNCTION realtime.walcast_ensure_partitions() TO ${role}`);
    await client.query(`GRANT EXECUTE ON FUNCTION realtime.walcast_drop_old_partitions(interval) TO ${role}`);
  } catch (cause) {
    if (sqlStateOf(cause) !== "42501") throw cause;
    throw new MigrationPrivilegeError(`grants to role ${gatewayRole}`, "migrate as the owner of realtime.messages", {
      cause,
    });
  }
}

/**
 * Adds the table, and with it its partitions, to publications that do not carry it. Whether its rows come under its own name
 * or its partitions' is left as the publication has it (publish_via_partition_root): both are understood.
 */
export async function publishMessages(client: ClientBase, publications: readonly string[]): Promise<readonly string[]> {
  const published: string[] = [];
  for (const publication of publications) {
    const { rows } = await client.query<{ is_there: boolean; is_carried: boolean }>(
      `SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1) AS is_there,
              EXISTS (SELECT FROM pg_publication_tables
                       WHERE pubname = $1 AND schemaname = 'realtime' AND tablename ~ '^messages($|_\\d)') AS is_carried`,
      [publication],
    );
    if (rows[0]?.is_there !== true) throw new MessagesPublicationMissingError(publication);
    if (rows[0].is_carried) continue;
    try {
      await client.query(`ALTER PUBLICATION ${escapeIdentifier(publication)} ADD TABLE realtime.messages`);
    } catch (cause) {
      if (sqlStateOf(cause) !== "42501") throw cause;
      const remedy = "migrate as the owner of both the publication and realtime.messages";
      throw new MigrationPrivilegeError(`publication ${publication} carry realtime.messages`, remedy, { cause });
    }
    published.push(publication);
  }
  return published;
}
