// Over 400 lines: a table of all types with the values that are hard about each.

import type { Relation } from "@walcast/model";
import { decodeMessage, JsonBuffer, relationOidOf, RowTranscoder } from "@walcast/pgoutput";
import { Catalog, sessionOptions } from "@walcast/postgres";
import { createDatabase, type TestDatabase } from "@walcast/testkit";
import fc from "fast-check";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";

let database: TestDatabase;
let client: Client;
let catalog: Catalog;

beforeAll(async () => {
  database = await createDatabase(inject("postgresUrl"));
  client = new Client({ connectionString: database.url, options: sessionOptions });
  await client.connect();
  await client.query(preparation);
  await client.query("SELECT pg_create_logical_replication_slot('slot_' || current_database(), 'pgoutput')");
  catalog = new Catalog(client);
  await catalog.loadBuiltIn();
});
afterAll(async () => {
  await client.end();
  await database.drop();
});

const preparation = `
  CREATE PUBLICATION everything FOR ALL TABLES;
  CREATE TYPE mood AS ENUM ('sad', 'so-so', 'ha"ppy', 'a,b', 'NULL');
  CREATE DOMAIN positive AS int CHECK (VALUE > 0);
  CREATE DOMAIN more_positive AS positive;
  CREATE DOMAIN word AS text;
  CREATE DOMAIN ratings AS numeric[];
  CREATE DOMAIN moment AS timestamptz;
  CREATE TYPE point3 AS (x int, "y ""quoted""" float8, z numeric);
  CREATE TYPE person AS (name text, born date, at timestamptz, place point3, tags text[], raw bytea, doc jsonb, ok bool, mood mood);
  CREATE TYPE lone AS ("one only" text);
  CREATE TYPE branch AS (label text, leaves lone[]);
  CREATE TYPE tree AS (label text, branches branch[]);
  CREATE DOMAIN someone AS person;
  CREATE TYPE span AS RANGE (subtype = float8);
  CREATE SCHEMA "Odd.Schema";
  CREATE TYPE "Odd.Schema"."int4" AS ENUM ('1', '2');
  CREATE TYPE "Odd.Schema"."bool" AS ("t" int)`;

interface SlotRow {
  readonly relation: Relation;
  readonly json: string;
}

/** The inserted rows since the last time, as the transcoder writes them. */
async function readInserts(): Promise<SlotRow[]> {
  const { rows } = await client.query<{ data: Buffer }>(
    `SELECT data FROM pg_logical_slot_get_binary_changes('slot_' || current_database(), NULL, NULL,
       'proto_version', '1', 'publication_names', 'everything')`,
  );
  const relations = new Map<number, { relation: Relation; rowsOf: RowTranscoder }>();
  const inserts: SlotRow[] = [];
  for (const { data } of rows) {
    const tag = String.fromCharCode(data[0] ?? 0);
    if (tag === "R") {
      const message = decodeMessage(data);
      if (message.tag !== "relation") throw new Error("R is a relation");
      await catalog.learn(message);
      const relation = catalog.describe(message);
      relations.set(message.oid, { relation, rowsOf: new RowTranscoder(relation, catalog.types) });
    } else if (tag === "I") {
      const known = relations.get(relationOidOf(data));
      if (known === undefined) throw new Error("a row without its relation");
      const out = new JsonBuffer(16);
      known.rowsOf.insert(data, out);
      inserts.push({ relation: known.relation, json: out.toString() });
    }
  }
  return inserts;
}

/** Parses JSON and keeps each number's digits: `1.50` becomes `{ "#": "1.50" }`, an exponent is written out. */
function parseExactly(json: string): unknown {
  const token = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/gu;
  return JSON.parse(json.replaceAll(token, (text) => (text.startsWith('"') ? text : `{"#":"${writeOut(text)}"}`)));
}

function writeOut(text: string): string {
  const [, sign = "", whole = "", fraction = "", exponentText] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  if (exponentText === undefined) return text === "-0" ? "0" : text; // to_jsonb knows no negative zero
  const exponent = Number(exponentText);
  const digits = `${"0".repeat(Math.max(0, 1 - whole.length - exponent))}${whole}${fraction}`;
  const point = digits.length - fraction.length + exponent;
  const padded = digits.padEnd(point, "0");
  const rest = padded.slice(point);
  return `${sign}${padded.slice(0, point).replace(/^0+(?=\d)/, "")}${rest === "" ? "" : `.${rest}`}`;
}

// protocol.md section 7, where it differs from to_jsonb.
const asIs = (value: unknown): unknown => value;
/** A column's NaN and infinities are null. */
const nullIfNotFinite = (value: unknown): unknown => (typeof value === "string" ? null : value);
/** bytea has no prefix, wherever it stands. */
function withoutPrefix(value: unknown): unknown {
  if (typeof value === "string") return value.replace(/^\\x/, "");
  if (Array.isArray(value)) return value.map(withoutPrefix);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, key === "raw" ? withoutPrefix(item) : item]),
  );
}

interface TypeCase {
  readonly type: string;
  /** SQL expressions. */
  readonly values: readonly string[];
  readonly differs?: (value: unknown) => unknown;
}

const text = (value: string): string => `E'${value}'`;
const awkward = [
  text(""),
  text(" "),
  text('quote " and \\\\ backslash'),
  text("\\t\\n\\r\\b\\f\\x01\\x1f\\x7f"),
  text("ünïcode 🎈 \\u2028 \\uFEFF"),
  text("\\uFEFFmark"),
  "'NULL'",
  "'null'",
  "'{a,\"b\"}'",
  "'(a,\"b\")'",
  "repeat('long ', 5000)",
];

const cases: readonly TypeCase[] = [
  { type: "bool", values: ["true", "false"] },
  { type: "int2", values: ["-32768", "0", "32767"] },
  { type: "int4", values: ["-2147483648", "0", "2147483647"] },
  { type: "int8", values: ["-9223372036854775808", "9007199254740993", "9223372036854775807"] },
  {
    type: "numeric",
    values: [
      "0",
      "0.00",
      "-1.50",
      "12345678901234567890.12300",
      "1e-20",
      "1e200",
      "'NaN'",
      "'Infinity'",
      "'-Infinity'",
    ],
    differs: nullIfNotFinite,
  },
  { type: "numeric(10,3)", values: ["1", "-9999999.999"], differs: nullIfNotFinite },
  {
    type: "float4",
    values: ["1.1", "-0", "1e-20", "3.4028235e38", "1e-45", "16777216", "'NaN'", "'Infinity'", "'-Infinity'"],
    differs: nullIfNotFinite,
  },
  {
    type: "float8",
    values: [
      "1.1",
      "'-0'",
      "1e-300",
      "1.7976931348623157e308",
      "5e-324",
      "1e20",
      "0.1::float8 + 0.2",
      "'NaN'",
      "'Infinity'",
    ],
    differs: nullIfNotFinite,
  },
  { type: "text", values: awkward },
  { type: "varchar(20000)", values: awkward.slice(0, -1) },
  { type: "char(5)", values: ["'abc'", "''", "'abcde'", "'é🎈'"] },
  { type: '"char"', values: ["'Z'", "''"] },
  { type: "name", values: ["'a name'"] },
  { type: "bit(4)", values: ["B'1010'"] },
  { type: "varbit", values: ["B''", "B'101'"] },
  { type: "bytea", values: ["'\\xdeadbeef'", "''", "'\\x00ff'", "'text'"], differs: withoutPrefix },
  { type: "bytea[]", values: ["ARRAY['\\x00'::bytea, NULL, '']"], differs: withoutPrefix },
  { type: "uuid", values: ["'550E8400-e29b-41d4-a716-446655440000'"] },
  { type: "date", values: ["'2024-02-29'", "'infinity'", "'-infinity'", "'0044-03-15 BC'", "'5874897-12-31'"] },
  { type: "time", values: ["'12:34:56.789'", "'24:00'", "'00:00:00.000001'"] },
  { type: "timetz", values: ["'12:34:56+02'", "'12:34:56.7-03:30'"] },
  {
    type: "timestamp",
    values: [
      "'2024-02-29 12:34:56.123456'",
      "'2024-02-29'",
      "'infinity'",
      "'-infinity'",
      "'0044-03-15 12:00 BC'",
      "'294276-12-31 23:59:59.999999'",
    ],
  },
  {
    type: "timestamptz",
    values: [
      "'2024-02-29 12:34:56.123456+02'",
      "'2024-02-29 12:34:56.1 Asia/Kathmandu'",
      "'infinity'",
      "'-infinity'",
      "'0044-03-15 12:00+00 BC'",
      "'4713-11-24 BC'",
      "'294276-12-31 23:59:59.999999+00'",
    ],
  },
  { type: "timestamptz(0)", values: ["'2024-02-29 12:34:56.6+00'"] },
  { type: "interval", values: ["'1 day 02:03:04.5'", "'-1 year'", "'1 mon -1 day'", "'0'"] },
  {
    type: "jsonb",
    values: [`'{"a": [1, 1.50, null, "\\u00e9", {"b": false}]}'`, "'null'", `'"text"'`, "'12.30'", "'[]'"],
  },
  {
    type: "json",
    values: [
      `E'{\\n\\t"a" :\\r\\n [1,\\t2.50 ] , "b":"\\\\t\\\\n"}'`,
      `' {"a":1,"a":2} '`,
      "'null'",
      `E'\\t"text"\\n'`,
      `'1e2'`,
    ],
  },
  { type: "json[]", values: [`ARRAY[E'{"a":\\n"b, \\\\"c"}'::json, NULL, 'null']`] },
  { type: "jsonb[]", values: [`ARRAY['{"a":"b, \\"c"}'::jsonb, NULL, '[1,2]', '"{}"']`] },
  {
    type: "int4[]",
    values: ["'{}'", "'{1,NULL,-3}'", "'{{1,2},{3,NULL}}'", "'[0:1]={7,8}'", "'[-2:-1][3:4]={{1,2},{3,4}}'"],
  },
  { type: "int8[]", values: ["'{9007199254740993}'"] },
  { type: "bool[]", values: ["'{t,f,NULL}'", "'{{t},{f}}'"] },
  {
    type: "text[]",
    values: [
      `ARRAY['a,b', 'c"d', 'e\\f', 'g{h}', 'NULL', 'null', '', ' ', NULL, E'tab\\tline\\n', '🎈', '(x)']`,
      "'{{a,b},{c,NULL}}'",
      "'[5:6]={x,y}'",
      "ARRAY[ARRAY['a\"b'], ARRAY['c\\d']]",
    ],
  },
  { type: "varchar(3)[]", values: ["'{abc,\"d e\"}'"] },
  { type: "char(3)[]", values: ["'{a,bcd}'"] },
  { type: "numeric[]", values: ["'{1.50,NaN,Infinity,-Infinity,NULL,12345678901234567890.5}'"] },
  { type: "float8[]", values: ["'{1.5,NaN,Infinity,-Infinity,1e-7}'"] },
  { type: "float4[]", values: ["'{1.1,NaN}'"] },
  { type: "timestamptz[]", values: ["'{2024-02-29 12:34:56+00,infinity,NULL,0044-03-15 12:00:00+00 BC}'"] },
  { type: "timestamp[]", values: ["'{{2024-02-29 12:34:56.5},{-infinity}}'"] },
  { type: "date[]", values: ["'{2024-02-29,infinity}'"] },
  { type: "interval[]", values: ["'{1 day,00:00:01}'"] },
  { type: "uuid[]", values: ["'{550e8400-e29b-41d4-a716-446655440000}'"] },
  { type: "box[]", values: ["'{(1,2),(0,0);(3,4),(1,1)}'"] },
  { type: "point[]", values: [`'{"(1,2)",NULL}'`] },
  { type: "mood", values: ["'sad'", "'so-so'", "'ha\"ppy'", "'a,b'", "'NULL'"] },
  { type: "mood[]", values: [`ARRAY['sad', 'so-so', 'ha"ppy', 'a,b', 'NULL', NULL]::mood[]`] },
  { type: "positive", values: ["1"] },
  { type: "more_positive", values: ["2"] },
  { type: "more_positive[]", values: ["'{1,NULL,3}'"] },
  { type: "word", values: awkward.slice(0, 4) },
  { type: "ratings", values: ["'{1.50,NaN,NULL}'", "'{{1},{2}}'"] },
  { type: "moment", values: ["'2024-02-29 12:34:56+00'"] },
  { type: "moment[]", values: ["'{2024-02-29 12:34:56+00}'"] },
  { type: "point3", values: ["(1, 2.5, 3.50)", "(NULL, 'NaN', 'NaN')", "(NULL, NULL, NULL)"] },
  { type: "lone", values: ["ROW('x')", "ROW('')", "ROW(NULL)", `ROW('a"b\\c,(d)')`] },
  {
    type: "person",
    differs: withoutPrefix,
    values: [
      `('O"Brien, \\ (x)', '2024-02-29', '2024-02-29 12:00:00.5+00', (1, 2.5, 3.50), ARRAY['a,b', 'c"d', NULL, 'e\\f'], '\\xdeadbeef',
        '{"k": "v, \\"w\\""}', true, 'ha"ppy')`,
      "('', NULL, 'infinity', NULL, '{}', '', 'null', false, 'a,b')",
      "(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    ],
  },
  {
    type: "person[]",
    differs: withoutPrefix,
    values: [
      `ARRAY[('a "b" \\c', '2024-02-29', NULL, (1, 2, 3), ARRAY['x', 'y "z"'], '\\x00', '[1]', false, 'NULL')::person, NULL]`,
    ],
  },
  { type: "someone", differs: withoutPrefix, values: ["('d', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"] },
  {
    type: "tree",
    values: [
      `('root', ARRAY[('one, "1"', ARRAY[ROW('leaf "a" \\ {b}')::lone, NULL])::branch, ('two', '{}')::branch])`,
      "('bare', NULL)",
    ],
  },
  { type: "int4range", values: ["'[1,5)'", "'empty'", "'(,3]'"] },
  { type: "tstzrange", values: ["'[2024-01-01,2024-02-01)'"] },
  { type: "span", values: ["'[1.5,2.5]'"] },
  { type: "int4multirange", values: ["'{[1,3),[5,7)}'"] },
  { type: "int4range[]", values: [`'{"[1,5)",empty}'`] },
  { type: "inet", values: ["'192.168.0.1/24'", "'::1'"] },
  { type: "cidr", values: ["'10.0.0.0/8'"] },
  { type: "macaddr", values: ["'08:00:2b:01:02:03'"] },
  { type: "point", values: ["'(1.5,-2)'"] },
  { type: "box", values: ["'(1,2),(3,4)'"] },
  { type: "money", values: ["1234.50", "-0.01"] },
  { type: "oid", values: ["42", "4294967295"] },
  { type: "oid[]", values: ["'{1,2}'"] },
  { type: "pg_lsn", values: ["'16/B374D848'"] },
  { type: "regclass", values: ["'pg_catalog.pg_class'"] },
  { type: "tsvector", values: [`'a:1 "b c":2'`] },
  { type: '"Odd.Schema"."int4"', values: ["'2'"] },
  { type: '"Odd.Schema"."bool"', values: ["ROW(7)"] },
  { type: "information_schema.sql_identifier", values: ["'name'"] },
  { type: "information_schema.cardinal_number", values: ["7"] },
];

describe("a value of each type, on its way from PostgreSQL to JSON,", () => {
  let sent: Map<string, SlotRow[]>;
  let expected: Map<string, string[]>;

  beforeAll(async () => {
    expected = new Map();
    for (const [index, { type, values }] of cases.entries()) {
      const table = `t${index}`;
      await client.query(`CREATE TABLE ${table} (id int, v ${type})`);
      for (const [id, value] of [...values, "NULL"].entries()) {
        await client.query(`INSERT INTO ${table} VALUES (${id}, (${value})::${type})`).catch((cause: unknown) => {
          throw new Error(`INSERT of ${type} ${value}: ${String(cause)}`, { cause });
        });
      }
      const { rows } = await client.query<{ json: string }>(
        `SELECT to_jsonb(v)::text AS json FROM ${table} ORDER BY id`,
      );
      expected.set(
        table,
        rows.map(({ json }) => json ?? "null"),
      );
    }
    sent = new Map();
    for (const row of await readInserts()) {
      const { table } = row.relation;
      sent.set(table, [...(sent.get(table) ?? []), row]);
    }
  });

  it.each(cases.map((one, index) => ({ ...one, table: `t${index}` })))(
    "is what to_jsonb says: $type",
    ({ table, differs = asIs }) => {
      const rows = (sent.get(table) ?? []).map(({ json }) => {
        expect(json).not.toMatch(/[\t\n\r]/);
        return (parseExactly(json) as { v: unknown }).v;
      });
      const wanted = (expected.get(table) ?? []).map((json) => differs(parseExactly(json)));
      expect(rows).toEqual(wanted);
    },
  );

  it("has its digits, not only its value", () => {
    const table = `t${cases.findIndex(({ type }) => type === "numeric")}`;
    expect(sent.get(table)?.map(({ json }) => json)).toEqual([
      '{"id":0,"v":0}',
      '{"id":1,"v":0.00}',
      '{"id":2,"v":-1.50}',
      '{"id":3,"v":12345678901234567890.12300}',
      '{"id":4,"v":0.00000000000000000001}',
      `{"id":5,"v":1${"0".repeat(200)}}`,
      '{"id":6,"v":null}',
      '{"id":7,"v":null}',
      '{"id":8,"v":null}',
      '{"id":9,"v":null}',
    ]);
  });
});

describe("random values, on their way from PostgreSQL to JSON,", () => {
  const words = fc.string({ unit: "binary", maxLength: 12 }).filter((word) => !word.includes("\0"));
  const numbers = fc.oneof(
    fc
      .tuple(fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }), fc.nat(40))
      .map(([digits, scale]) => `${digits}e-${scale}`),
    fc.constantFrom("NaN", "Infinity", "0.000"),
  );
  const floats = fc.double().map((value) => (Object.is(value, -0) ? "0" : String(value)));
  const times = fc.bigInt({ min: -200_000_000_000_000_000n, max: 9_000_000_000_000_000_000n }).map((micros) => {
    // In parts: PostgreSQL 14 takes no more than 32 bits of microseconds at once.
    const [size, sign] = micros < 0n ? [-micros, "-"] : [micros, ""];
    const [seconds, fraction] = [size / 1_000_000n, String(size % 1_000_000n).padStart(6, "0")];
    return `${sign}${seconds / 86_400n} days ${sign}${seconds % 86_400n}.${fraction} seconds`;
  });
  const lists = fc.array(fc.option(words), { maxLength: 5 });
  const documents = fc.json({ noUnicodeString: false }).filter((json) => !json.includes("\\u0000"));
  const row = fc.tuple(
    words,
    numbers,
    floats,
    times,
    times,
    lists,
    fc.array(numbers, { maxLength: 4 }),
    documents,
    lists,
  );

  it("are what to_jsonb says", async () => {
    await client.query(`
      CREATE TYPE random_composite AS (a text, b numeric, c text[], d timestamptz);
      CREATE TABLE random (id int PRIMARY KEY, t text, n numeric, f float8, at timestamptz, local timestamp, list text[], ns numeric[],
        j json, jb jsonb, b bytea, c random_composite, cs random_composite[])`);
    let id = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(row, { minLength: 60, maxLength: 60 }), async (rows) => {
        const from = id;
        await client.query("BEGIN");
        for (const [t, n, f, at, local, list, ns, j, c] of rows) {
          await client.query(
            `INSERT INTO random
             SELECT $1, $2::text, $3::numeric, $4::float8, e + $5::interval, e::timestamp + $6::interval, $7::text[], $8::numeric[], $9::json,
                    $9::jsonb, convert_to($2, 'UTF8'), r, ARRAY[r, NULL, r]
               FROM (SELECT '2000-01-01 00:00:00+00'::timestamptz AS e) x,
                    LATERAL (SELECT ROW($2, $3::numeric, $10::text[], e + $5::interval)::random_composite AS r) y`,
            [id++, t, n, f, at, local, list, ns, j, c],
          );
        }
        await client.query("COMMIT");
        const wanted = await client.query<{ json: string }>(
          `SELECT (to_jsonb(random) || jsonb_build_object('b', encode(b, 'hex')))::text AS json FROM random WHERE id >= $1 ORDER BY id`,
          [from],
        );
        const sent = await readInserts();
        expect(sent.map(({ json }) => parseExactly(json))).toEqual(
          wanted.rows.map(({ json }) => {
            const fields = parseExactly(json) as Record<string, unknown>;
            return { ...fields, n: nullIfNotFinite(fields["n"]), f: nullIfNotFinite(fields["f"]) };
          }),
        );
      }),
      { numRuns: 5 },
    );
  });
});

describe("Catalog", () => {
  const relationOf = async (insert: string): Promise<SlotRow> => {
    await client.query(insert);
    const [row] = await readInserts();
    if (row === undefined) throw new Error("no row came");
    return row;
  };

  it("describes columns with the names of their types, and of the types below domains", async () => {
    await client.query(
      `CREATE TABLE described (id int8 PRIMARY KEY, "a b" more_positive, m mood[], price numeric(8,2), s someone)`,
    );
    const { relation } = await relationOf("INSERT INTO described VALUES (1)");
    expect(relation).toMatchObject({ schema: "public", table: "described", replicaIdentity: "d" });
    expect(
      relation.columns.map(({ name, type, baseType, typeModifier, isKey }) => ({
        name,
        type,
        baseType,
        typeModifier,
        isKey,
      })),
    ).toEqual([
      { name: "id", type: "int8", baseType: undefined, typeModifier: -1, isKey: true },
      { name: "a b", type: "more_positive", baseType: "int4", typeModifier: -1, isKey: false },
      { name: "m", type: "_mood", baseType: undefined, typeModifier: -1, isKey: false },
      { name: "price", type: "numeric", baseType: undefined, typeModifier: ((8 << 16) | 2) + 4, isKey: false },
      { name: "s", type: "someone", baseType: "person", typeModifier: -1, isKey: false },
    ]);
  });

  it("asks again for a composite type when a relation that uses it is described anew", async () => {
    await client.query("CREATE TYPE growing AS (a int); CREATE TABLE growth (id int, v growing)");
    expect((await relationOf("INSERT INTO growth VALUES (1, ROW(1))")).json).toBe('{"id":1,"v":{"a":1}}');
    await client.query("ALTER TYPE growing ADD ATTRIBUTE b text");
    expect((await relationOf("INSERT INTO growth VALUES (2, ROW(1, 'x'))")).json).toBe('{"id":2,"v":{"a":1,"b":"x"}}');
  });

  it("describes a column of a type that is gone as text", async () => {
    await client.query("CREATE TYPE passing AS ENUM ('x'); CREATE TABLE passed (id int, v passing)");
    await client.query("INSERT INTO passed VALUES (1, 'x')");
    await client.query("DROP TABLE passed; DROP TYPE passing");
    const [row] = await readInserts();
    expect(row?.json).toBe('{"id":1,"v":"x"}');
    expect(row?.relation.columns[1]?.type).toMatch(/^\d+$/);
  });
});
