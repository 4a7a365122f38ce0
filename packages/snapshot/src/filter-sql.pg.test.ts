import type { Column } from "@walcast/model";
import type { TypeInfo } from "@walcast/pgoutput";
import { Catalog, sessionOptions } from "@walcast/postgres";
import { compileFilter, parseFilter, passes, RecordReader, shapeOf } from "@walcast/subscriptions";
import { createDatabase, type TestDatabase } from "@walcast/testkit";
import fc from "fast-check";
import { Client } from "pg";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { filterSql } from "./filter-sql.ts";
import { RowWriter } from "./row-writer.ts";

let database: TestDatabase;
let client: Client;
let records: { readonly id: number; readonly record: Buffer }[];

const types = {
  id: ["int4", 23],
  i: ["int8", 20],
  b: ["bool", 16],
  t: ["text", 25],
  v: ["varchar", 1043],
  num: ["numeric", 1700],
  f: ["float8", 701],
  u: ["uuid", 2950],
  d: ["date", 1082],
  ts: ["timestamptz", 1184],
  j: ["jsonb", 3802],
  ip: ["inet", 869],
  net: ["cidr", 650],
  mac: ["macaddr", 829],
  mac8: ["macaddr8", 774],
  price: ["money", 790],
} as const;
const columns: readonly Column[] = Object.entries(types).map(([name, [type, typeOid]]) => ({
  name,
  type,
  typeOid,
  typeModifier: -1,
  isKey: false,
}));

beforeAll(async () => {
  database = await createDatabase(inject("postgresUrl"));
  client = new Client({ connectionString: database.url, options: sessionOptions });
  await client.connect();
  await client.query(`
    CREATE TABLE t (id int PRIMARY KEY, i int8, b bool, t text, v varchar, num numeric, f float8, u uuid, d date, ts timestamptz, j jsonb,
      ip inet, net cidr, mac macaddr, mac8 macaddr8, price money);
    INSERT INTO t SELECT n, nullif(n % 5, 0), (ARRAY[true, false, NULL])[n % 3 + 1], (ARRAY['a','B','b','é','z','', NULL])[n % 7 + 1],
      (ARRAY['a','A b',NULL])[n % 3 + 1], (ARRAY[1, 1.50, 'NaN', -2, NULL]::numeric[])[n % 5 + 1], (ARRAY[1, 'NaN', NULL, 'Infinity']::float8[])[n % 4 + 1],
      ('00000000-0000-0000-0000-00000000000' || n % 4)::uuid, CASE WHEN n % 6 > 0 THEN date '2024-01-01' + n % 6 END,
      CASE WHEN n % 4 > 0 THEN timestamptz '2024-01-01 12:00+00' + n % 4 * interval '1 hour' END, jsonb_build_object('k', n % 3),
      (ARRAY['10.0.0.1', '10.0.0.1/8', '::1', NULL]::inet[])[n % 4 + 1], (ARRAY['10/8', '10.0.0.0/9', '::/0', NULL]::cidr[])[n % 4 + 1],
      (ARRAY['08:00:2b:01:02:03', 'f0:00:2b:01:02:03', NULL]::macaddr[])[n % 3 + 1],
      (ARRAY['08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', NULL]::macaddr8[])[n % 3 + 1],
      (ARRAY[9, 1234.5, -5, NULL]::numeric[])[n % 4 + 1]::money
      FROM generate_series(1, 420) AS n`);
  const known = new Map<number, TypeInfo>();
  await new Catalog(client, known).loadBuiltIn();
  const writer = new RowWriter(columns, known);
  const { rows } = await client.query<string[]>({
    text: "SELECT * FROM t ORDER BY id",
    rowMode: "array",
    types: { getTypeParser: () => (text: unknown) => text },
  } as never);
  records = rows.map((row) => ({ id: Number(row[0]), record: writer.write(row) }));
});
afterAll(async () => {
  await client.end();
  await database.drop();
});

const values: Readonly<Record<string, readonly string[]>> = {
  i: ["1", "3", "-9"],
  b: ["true", "f"],
  t: ["a", "b", "B", "é", ""],
  v: ["a", "A b"],
  num: ["1.5", "1", "-2.0", "NaN"],
  f: ["1", "2"],
  u: ["00000000-0000-0000-0000-000000000002"],
  d: ["2024-01-03", "2024-01-01"],
  ts: ["2024-01-01T13:00:00Z", "2024-01-01 14:00:00+00"],
  "j->>k": ["0", "1"],
  ip: ["10.0.0.1/32", "10/8", "::0001"],
  net: ["10", "10.0/9", "::/0"],
  mac: ["08002b-010203", "8:0:2b:1:2:4"],
  mac8: ["08002b-fffe010203", "08:00:2b:01:02:04"],
  price: ["$1,234.50", "(5)", "10"],
};
const not = fc.constantFrom("", "not.");
const condition = fc.constantFrom(...Object.keys(values)).chain((column) =>
  fc.record({
    column: fc.constant(column),
    not,
    test: fc.oneof(
      fc.tuple(
        fc.constantFrom("eq", "neq", "lt", "lte", "gt", "gte", "isdistinct"),
        fc.constantFrom(...(values[column] ?? [])),
      ),
      fc.constant(["is", "null"] as const),
      fc.tuple(fc.constant("in"), fc.constant(`(${(values[column] ?? []).map((value) => `"${value}"`).join(",")})`)),
      ...(column === "b" ? [fc.tuple(fc.constant("is"), fc.constantFrom("true", "false", "unknown"))] : []),
      ...(column === "t" ? [fc.tuple(fc.constantFrom("like", "ilike"), fc.constantFrom("%b%", "a"))] : []),
    ),
  }),
);
const simple = condition.map(
  ({ column, not: negation, test: [operator, value] }) => `${column}=${negation}${operator}.${quoted(operator, value)}`,
);
const inGroup = condition.map(
  ({ column, not: negation, test: [operator, value] }) => `${column}.${negation}${operator}.${quoted(operator, value)}`,
);
const group = fc
  .tuple(not, fc.constantFrom("and", "or"), fc.array(inGroup, { minLength: 1, maxLength: 3 }))
  .map(([negation, name, parts]) => `${negation}${name}=(${parts.join(",")})`);
const quoted = (operator: string, value: string): string =>
  operator === "in" || operator === "is" ? value : `"${value}"`;

it("lets through every row that the filter matches, and no other where it says that it is the whole filter", async () => {
  let whole = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(simple, group), { minLength: 1, maxLength: 3 }), async (parts) => {
      const filter = parseFilter(parts.join(","));
      const terms = compileFilter(filter, shapeOf(columns));
      const matching = records
        .filter(({ record }) => passes(terms, new RecordReader(record, shapeOf(columns))))
        .map(({ id }) => id);
      const sql = filterSql(filter, columns);
      const { rows } = await client.query<{ id: number }>(`SELECT id FROM t WHERE ${sql.text} ORDER BY id`, [
        ...sql.values,
      ]);
      const found = rows.map(({ id }) => id);
      if (sql.isWhole) whole++;
      if (sql.isWhole) expect(found).toEqual(matching);
      else expect(matching.filter((id) => !found.includes(id))).toEqual([]);
    }),
    { numRuns: 400 },
  );
  expect(whole).toBeGreaterThan(50);
});
