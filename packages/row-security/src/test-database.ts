import type { Claims } from "@walcast/authz";
import type { Relation } from "@walcast/model";
import type { Database } from "@walcast/postgres";
import { createDatabase, type TestDatabase } from "@walcast/testkit";
import { Client, escapeIdentifier, Pool } from "pg";
import { principalOf, type Principal } from "./index.ts";

// For tests: a database with the roles that README.md's recipe makes, which belong to the whole server and so have the
// database's name in theirs.

export interface PolicyDatabase {
  /** As an administrator. */
  readonly admin: Client;
  /** As the role that walcast connects as: no superuser, NOINHERIT. */
  readonly gate: Database;
  readonly gateName: string;
  /** `role("anon")` and so on: the name on this server. */
  role(name: string): string;
  /** SQL in which `%anon%`, `%user%`, `%service%` and `%gate%` stand for the roles. */
  sql(text: string): Promise<void>;
  principal(role: string, claims?: Record<string, unknown>): Principal;
  claims(role: string, claims?: Record<string, unknown>): Claims;
  relation(schema: string, table: string): Promise<Relation>;
  drop(): Promise<void>;
}

export async function createPolicyDatabase(adminUrl: string): Promise<PolicyDatabase> {
  const database: TestDatabase = await createDatabase(adminUrl);
  const admin = new Client({ connectionString: database.url });
  await admin.connect();
  const lookups = new Pool({ connectionString: database.url, max: 1 });
  const role = (name: string): string => `${name}_${database.name}`;
  const names = ["anon", "user", "service", "gate", "owner", "stranger", "member"];
  const gateUrl = new URL(database.url);
  gateUrl.username = role("gate");
  gateUrl.password = "gate";
  const policyDatabase: PolicyDatabase = {
    admin,
    gate: { connectionString: gateUrl.href },
    gateName: role("gate"),
    role,
    async sql(text) {
      await admin.query(text.replaceAll(/%([a-z]+)%/gu, (_, name: string) => escapeIdentifier(role(name))));
    },
    claims: (name, more = {}) => ({ role: role(name), exp: 4_000_000_000, ...more }),
    principal: (name, more = {}) => principalOf({ role: role(name), exp: 4_000_000_000, ...more }),
    async relation(schema, table) {
      const { rows } = await lookups.query<{ oid: string; columns: string[] }>(
        `SELECT c.oid::int8 AS oid, array_agg(a.attname::text ORDER BY a.attnum) AS columns
           FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          WHERE c.oid = format('%I.%I', $1::text, $2::text)::regclass GROUP BY c.oid`,
        [schema, table],
      );
      const columns = (rows[0]?.columns ?? []).map((name) => ({
        name,
        type: "text",
        typeOid: 25,
        typeModifier: -1,
        isKey: false,
      }));
      return { oid: Number(rows[0]?.oid), schema, table, replicaIdentity: "d", columns };
    },
    async drop() {
      await admin.end();
      await lookups.end();
      await database.drop();
      const server = new Client({ connectionString: adminUrl });
      await server.connect();
      for (const name of names) await server.query(`DROP ROLE ${escapeIdentifier(role(name))}`);
      await server.end();
    },
  };
  await policyDatabase.sql(`
    CREATE ROLE %gate% LOGIN NOINHERIT PASSWORD 'gate';
    CREATE ROLE %anon% NOLOGIN;
    CREATE ROLE %user% NOLOGIN;
    CREATE ROLE %service% NOLOGIN BYPASSRLS;
    CREATE ROLE %owner% NOLOGIN;
    CREATE ROLE %member% NOLOGIN IN ROLE %owner%;
    CREATE ROLE %stranger% NOLOGIN;
    GRANT %anon%, %user%, %service%, %owner%, %member% TO %gate%;
    GRANT USAGE ON SCHEMA public TO PUBLIC;
    CREATE SCHEMA auth;
    GRANT USAGE ON SCHEMA auth TO PUBLIC;
    CREATE FUNCTION auth.claims() RETURNS jsonb STABLE LANGUAGE sql AS
      $$ SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;
    CREATE FUNCTION auth.uid() RETURNS uuid STABLE LANGUAGE sql AS $$ SELECT (auth.claims() ->> 'sub')::uuid $$`);
  return policyDatabase;
}
