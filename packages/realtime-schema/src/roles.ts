import { sqlStateOf } from "@walcast/postgres";
import { escapeIdentifier, type ClientBase } from "pg";
import { MigrationPrivilegeError } from "./errors.ts";

/** What Supabase's tokens name in `role` (protocol.md 5.1), with what CREATE ROLE says of each. */
export const clientRoles = [
  { name: "anon", attributes: "NOLOGIN NOINHERIT" },
  { name: "authenticated", attributes: "NOLOGIN NOINHERIT" },
  { name: "service_role", attributes: "NOLOGIN NOINHERIT BYPASSRLS" },
] as const;

/** Makes those that are missing. Throws MigrationPrivilegeError. */
export async function createRoles(client: ClientBase): Promise<readonly string[]> {
  const { rows } = await client.query<{ name: string }>("SELECT rolname AS name FROM pg_roles");
  const missing = clientRoles.filter(({ name }) => !rows.some((row) => row.name === name));
  for (const { name, attributes } of missing) {
    const statement = `CREATE ROLE ${escapeIdentifier(name)} ${attributes}`;
    try {
      await client.query(statement);
    } catch (cause) {
      if (sqlStateOf(cause) !== "42501") throw cause;
      // BYPASSRLS is a superuser's to give, since PostgreSQL 16 also that of whoever has it (manual, "CREATE ROLE").
      throw new MigrationPrivilegeError(`role ${name}`, `have a superuser run: ${statement}`, { cause });
    }
  }
  return missing.map(({ name }) => name);
}
