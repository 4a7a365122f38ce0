// Over 400 lines: one grammar of cases, whose tables, policies and changes name each other.

import type { Client } from "pg";

// For the randomised test of who may see what: random tables with random policies and grants, random changes, and what
// PostgreSQL itself shows to a user, which is what the changes that reach that user are compared with.

/** A generator of equal numbers for equal seeds (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(from: readonly T[]): T {
    const one = from[this.below(from.length)];
    if (one === undefined) throw new Error("nothing to pick from");
    return one;
  }

  some<T>(from: readonly T[], probability = 0.5): T[] {
    return from.filter(() => this.chance(probability));
  }
}

export const roles = ["authz_a", "authz_b", "authz_owner", "authz_all"] as const;
export type Role = (typeof roles)[number];
const subs = ["ann", "bob", "cat"] as const;
const tenants = ["x", "y"] as const;

export interface User {
  readonly sub: string;
  readonly tenant: string;
  readonly role: Role;
}

export const randomUser = (random: Random): User => ({
  sub: random.pick(subs),
  tenant: random.pick(tenants),
  role: random.chance(0.7) ? random.pick(["authz_a", "authz_b"]) : random.pick(["authz_owner", "authz_all"]),
});

export const baseSchema = `
  ${roles
    .map(
      (role) =>
        `DO $$ BEGIN CREATE ROLE ${role} NOLOGIN ${role === "authz_all" ? "BYPASSRLS" : ""};
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;`,
    )
    .join("\n")}
  CREATE TABLE marks (id int PRIMARY KEY);
  CREATE TABLE members (sub text, tenant text, PRIMARY KEY (sub, tenant));
  CREATE TABLE nobodys (sub text);
  CREATE TYPE label AS ENUM (${Array.from({ length: 40 }, (_, i) => `'label ${i}'`).join(", ")});
  CREATE FUNCTION claim(name text) RETURNS text STABLE LANGUAGE sql AS
    $$ SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> name $$;
  GRANT USAGE ON SCHEMA public TO ${roles.join(", ")};
  GRANT SELECT ON marks, members TO ${roles.join(", ")};
  CREATE PUBLICATION supabase_realtime FOR ALL TABLES WITH (publish_via_partition_root = true)`;

interface KeyType {
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  /** SQL of the `n`th key; never the same twice. */
  readonly make: (n: number) => readonly string[];
}

const one = (type: string, make: (n: number) => string): KeyType => ({
  columns: [{ name: "id", type }],
  make: (n) => [make(n)],
});
const keyTypes: readonly KeyType[] = [
  one("int", String),
  one("bigint", (n) => String(2n ** 62n + BigInt(n) * 1024n)),
  one("uuid", (n) => `md5('${n}')::uuid`),
  one("text", (n) => `'o''clock "é" \\ ${n}'`),
  one("numeric", (n) => `${n}.50`),
  one("timestamptz", (n) => `timestamptz '2024-02-29 10:00:00.000001+02' + ${n} * interval '1 hour'`),
  one("label", (n) => `'label ${n % 40}'`),
  {
    columns: [
      { name: "id", type: "int" },
      { name: 'na"me', type: "text" },
    ],
    make: (n) => [String(n % 5), `'key ${n}'`],
  },
];

export type Row = Readonly<Record<string, unknown>>;
const plainColumns = ["owner", "tenant", "n", "body"] as const;

export interface Table {
  readonly schema: string;
  readonly name: string;
  readonly key: KeyType;
  /** They become more and fewer. */
  readonly columns: string[];
  /** Its rows lie in two partitions, and its changes come under its own name. */
  readonly isPartitioned: boolean;
  readonly isFull: boolean;
  readonly owner: Role | undefined;
  isSecured: boolean;
  isForced: boolean;
  /** By the text of the key. */
  readonly rows: Map<string, Row>;
  keysMade: number;
  policies: number;
}

/** A committed change of one row. */
export interface Change {
  readonly table: Table;
  readonly type: "INSERT" | "UPDATE" | "DELETE" | "TRUNCATE";
  /** Those that the table had then. */
  readonly columns: readonly string[];
  /** The text of the row's key after the change. */
  readonly key: string;
  readonly record?: Row;
  readonly old?: Row;
}

export const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;
const nameOf = ({ schema, name }: Table): string => `${quote(schema)}.${quote(name)}`;
const partitionsOf = ({ schema, name, isPartitioned }: Table): readonly string[] =>
  isPartitioned ? [0, 1].map((n) => `${quote(schema)}.${quote(`${name} part ${n}`)}`) : [];
const keyText = ({ key }: Table, alias: string): string =>
  `ROW(${key.columns.map(({ name }) => `${alias}.${quote(name)}`).join(", ")})::text`;
export const keyColumns = ({ key }: Table): readonly string[] => key.columns.map(({ name }) => name);

const policyConditions: readonly string[] = [
  "owner = claim('sub')",
  "owner = (SELECT claim('sub'))",
  "owner = current_setting('request.jwt.claim.sub', true)",
  "tenant = claim('tenant')",
  "EXISTS (SELECT FROM public.members m WHERE m.sub = claim('sub') AND m.tenant = TABLE.tenant)",
  "tenant IN (SELECT m.tenant FROM public.members m WHERE m.sub = claim('sub'))",
  "claim('role') IN ('authz_a')",
  "n % 2 = 0",
  "owner = claim('sub') AND n > 2",
  "true",
  "false",
];
/** The role may not look where the policy looks. */
const deniedCondition = "owner IN (SELECT sub FROM public.nobodys)";

export async function createTable(sql: Client, random: Random, at: { schema: string; name: string }): Promise<Table> {
  const key = random.pick(keyTypes);
  const table: Table = {
    ...at,
    key,
    columns: [...key.columns.map(({ name }) => name), ...plainColumns],
    isPartitioned: random.chance(0.25),
    isFull: random.chance(0.5),
    owner: random.chance(0.3) ? "authz_owner" : undefined,
    isSecured: random.chance(0.75),
    isForced: random.chance(0.3),
    rows: new Map(),
    keysMade: 0,
    policies: 0,
  };
  const name = nameOf(table);
  await sql.query(`
    CREATE TABLE ${name} (${key.columns.map((column) => `${quote(column.name)} ${column.type}`).join(", ")},
      owner text, tenant text, n int, body text, PRIMARY KEY (${keyColumns(table).map(quote).join(", ")}))
      ${table.isPartitioned ? `PARTITION BY HASH (${keyColumns(table).map(quote).join(", ")})` : ""};
    ${partitionsOf(table)
      .map((part, n) => `CREATE TABLE ${part} PARTITION OF ${name} FOR VALUES WITH (MODULUS 2, REMAINDER ${n});`)
      .join("\n")}
    ${[name, ...partitionsOf(table)].map((one) => (table.isFull ? `ALTER TABLE ${one} REPLICA IDENTITY FULL;` : "")).join("\n")}
    ${table.isSecured ? `ALTER TABLE ${name} ENABLE ROW LEVEL SECURITY;` : ""}
    ${table.isForced ? `ALTER TABLE ${name} FORCE ROW LEVEL SECURITY;` : ""}
    ${table.owner === undefined ? "" : `ALTER TABLE ${name} OWNER TO ${table.owner};`}`);
  for (const role of roles) await grant(sql, random, { table, role });
  for (let i = random.below(4); i > 0; i--) await addPolicy(sql, random, table);
  return table;
}

/** Another set of privileges for one role. */
export async function grant(
  sql: Client,
  random: Random,
  { table, role }: { readonly table: Table; readonly role: Role },
): Promise<void> {
  const name = nameOf(table);
  await sql.query(`REVOKE ALL ON ${name} FROM ${role}`);
  const kind = random.next();
  if (kind < 0.6) await sql.query(`GRANT SELECT ON ${name} TO ${role}`);
  else if (kind < 0.9) {
    const columns = [...random.some(keyColumns(table), 0.9), ...random.some(plainColumns, 0.6)];
    if (columns.length > 0) await sql.query(`GRANT SELECT (${columns.map(quote).join(", ")}) ON ${name} TO ${role}`);
  }
}

export async function addPolicy(sql: Client, random: Random, table: Table): Promise<void> {
  const condition = (random.chance(0.04) ? deniedCondition : random.pick(policyConditions)).replace(
    "TABLE",
    quote(table.name),
  );
  const kind = random.chance(0.2) ? "RESTRICTIVE" : "PERMISSIVE";
  const command = random.pick(["ALL", "SELECT", "SELECT", "SELECT", "UPDATE"]);
  const to = random.pick(["PUBLIC", "PUBLIC", "authz_a", "authz_b, authz_owner"]);
  await sql.query(
    `CREATE POLICY p${++table.policies} ON ${nameOf(table)} AS ${kind} FOR ${command} TO ${to} USING (${condition})`,
  );
}

/** Something about who may see what becomes different. */
export async function changeRights(sql: Client, random: Random, table: Table): Promise<void> {
  const name = nameOf(table);
  switch (random.below(6)) {
    case 0:
      return await grant(sql, random, { table, role: random.pick(roles) });
    case 1:
      table.isSecured = !table.isSecured;
      await sql.query(`ALTER TABLE ${name} ${table.isSecured ? "ENABLE" : "DISABLE"} ROW LEVEL SECURITY`);
      return;
    case 2:
      table.isForced = !table.isForced;
      await sql.query(`ALTER TABLE ${name} ${table.isForced ? "" : "NO "}FORCE ROW LEVEL SECURITY`);
      return;
    case 3: {
      const [verb, word] = random.pick([
        ["GRANT", "TO"],
        ["REVOKE", "FROM"],
      ] as const);
      await sql.query(`${verb} USAGE ON SCHEMA ${quote(table.schema)} ${word} ${random.pick(roles)}`);
      return;
    }
    case 4:
      if (table.policies > 0) {
        await sql.query(`DROP POLICY IF EXISTS p${1 + random.below(table.policies)} ON ${name}`);
      }
      return;
    default:
      await addPolicy(sql, random, table);
  }
}

/** One column more, or one that came so less. */
export async function changeColumns(sql: Client, table: Table): Promise<void> {
  const at = table.columns.indexOf("added");
  await sql.query(`ALTER TABLE ${nameOf(table)} ${at === -1 ? "ADD COLUMN added text" : "DROP COLUMN added"}`);
  if (at === -1) table.columns.push("added");
  else table.columns.splice(at, 1);
  for (const [key, { added: _, ...row }] of table.rows) table.rows.set(key, at === -1 ? { ...row, added: null } : row);
}

/** Memberships are rows that policies look at: they hold at once. */
export async function changeMembers(sql: Client, random: Random): Promise<void> {
  const member = [random.pick(subs), random.pick(tenants)];
  await sql.query(
    random.chance(0.5)
      ? "INSERT INTO members VALUES ($1, $2) ON CONFLICT DO NOTHING"
      : "DELETE FROM members WHERE sub = $1 AND tenant = $2",
    member,
  );
}

/** Some transactions. A row is changed by one of them at most, so that it does not matter when the policies are asked. */
export async function changeRows(sql: Client, random: Random, tables: readonly Table[]): Promise<Change[]> {
  const changes: Change[] = [];
  const taken = new Map(tables.map((table) => [table, new Set<string>()]));
  if (random.chance(0.15)) changes.push(await truncate(sql, random.pick(tables)));
  for (let i = 1 + random.below(4); i > 0; i--) {
    const touched = new Map(tables.map((table) => [table, new Set<string>()]));
    await sql.query("BEGIN");
    for (let j = 1 + random.below(5); j > 0; j--) {
      const table = random.pick(tables);
      const free = [...table.rows.keys()].filter((key) => !taken.get(table)?.has(key));
      const change = await changeRow(sql, random, { table, free });
      if (change === undefined) continue;
      changes.push(change.change);
      for (const key of [change.before, change.change.key]) if (key !== undefined) touched.get(table)?.add(key);
    }
    await sql.query("COMMIT");
    for (const [table, keys] of touched) for (const key of keys) taken.get(table)?.add(key);
  }
  return changes;
}

async function truncate(sql: Client, table: Table): Promise<Change> {
  await sql.query(`TRUNCATE ${nameOf(table)}`);
  table.rows.clear();
  return { table, type: "TRUNCATE", columns: [...table.columns], key: "" };
}

const values = (random: Random): readonly [string, string, number, string] => [
  random.pick(subs),
  random.pick(tenants),
  random.below(8),
  `body ${random.below(1_000_000)}`,
];

interface Returned {
  readonly key: string;
  readonly record: Row;
}

async function changeRow(
  sql: Client,
  random: Random,
  { table, free }: { readonly table: Table; readonly free: readonly string[] },
): Promise<{ readonly change: Change; readonly before: string | undefined } | undefined> {
  const name = nameOf(table);
  const about = { table, columns: [...table.columns] };
  const returning = `RETURNING ${keyText(table, "t")} AS key, to_jsonb(t) AS record`;
  const kind = free.length === 0 ? 0 : random.next();
  const isFull = table.key.columns[0]?.type === "label" && table.keysMade >= 40;
  if (kind < 0.4) {
    if (isFull) return undefined;
    const keys = table.key.make(table.keysMade++);
    const columns = [...keyColumns(table), ...plainColumns].map(quote).join(", ");
    const { rows } = await sql.query<Returned>(
      `INSERT INTO ${name} AS t (${columns}) VALUES (${keys.join(", ")}, $1, $2, $3, $4) ${returning}`,
      [...values(random)],
    );
    const [row] = rows;
    if (row === undefined) return undefined;
    table.rows.set(row.key, row.record);
    return { change: { ...about, type: "INSERT", ...row }, before: undefined };
  }
  const before = random.pick(free);
  const old = table.rows.get(before) ?? {};
  if (kind < 0.8) {
    // Between partitions a row is deleted here and inserted there: two changes of what is one statement.
    const movesKey = random.chance(0.2) && !isFull && !table.isPartitioned;
    const keys = movesKey ? table.key.make(table.keysMade++) : [];
    const sets = [
      ...keys.map((key, index) => `${quote(keyColumns(table)[index] ?? "")} = ${key}`),
      "owner = $2, tenant = $3, n = $4, body = $5",
    ];
    const { rows } = await sql.query<Returned>(
      `UPDATE ${name} AS t SET ${sets.join(", ")} WHERE ${keyText(table, "t")} = $1 ${returning}`,
      [before, ...values(random)],
    );
    const [row] = rows;
    if (row === undefined) return undefined;
    table.rows.delete(before);
    table.rows.set(row.key, row.record);
    return { change: { ...about, type: "UPDATE", ...row, old }, before };
  }
  await sql.query(`DELETE FROM ${name} AS t WHERE ${keyText(table, "t")} = $1`, [before]);
  table.rows.delete(before);
  return { change: { ...about, type: "DELETE", key: before, old }, before };
}

/** What one user sees of one table. */
export interface Sight {
  /** Columns it may SELECT. */
  readonly columns: readonly string[];
  /** The texts of the keys of the rows it gets; `undefined`: PostgreSQL refuses the question. */
  readonly keys: ReadonlySet<string> | undefined;
  /** Row level security decides; otherwise changes of rows that are gone are shown, too. */
  readonly isSecured: boolean;
}

/** Asks PostgreSQL as the user, by plain SELECTs. */
export async function look(sql: Client, user: User & { readonly claims: string }, table: Table): Promise<Sight> {
  const name = nameOf(table);
  const isSecured = table.isSecured && user.role !== "authz_all" && !(table.owner === user.role && !table.isForced);
  await sql.query("BEGIN");
  try {
    await sql.query(
      `SELECT set_config('request.jwt.claims', $1, true), set_config('request.jwt.claim.sub', $2, true),
              set_config('request.jwt.claim.role', $3, true)`,
      [user.claims, user.sub, user.role],
    );
    await sql.query(`SET LOCAL ROLE ${user.role}`);
    const ask = async (text: string): Promise<{ key: string }[] | undefined> => {
      await sql.query("SAVEPOINT look");
      try {
        return (await sql.query<{ key: string }>(text)).rows;
      } catch (error) {
        if ((error as { code?: string }).code !== "42501") throw error;
        await sql.query("ROLLBACK TO SAVEPOINT look");
        return undefined;
      }
    };
    const columns: string[] = [];
    for (const column of table.columns) {
      const may = await ask(`SELECT has_column_privilege('${name}', '${column}', 'SELECT')::text AS key`);
      if (may?.[0]?.key === "true") columns.push(column);
    }
    const rows = await ask(`SELECT ${keyText(table, "t")} AS key FROM ${name} AS t`);
    return { columns, keys: rows && new Set(rows.map(({ key }) => key)), isSecured };
  } finally {
    await sql.query("ROLLBACK");
  }
}
