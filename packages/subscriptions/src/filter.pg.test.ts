// Over 400 lines: a generator of filters for each operator; they share what asks PostgreSQL about them.

import { createDatabase, type TestDatabase } from "@walcast/testkit";
import fc from "fast-check";
import { Client, escapeLiteral } from "pg";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { compileFilter } from "./compiled-filter.ts";
import { FilterTypeError } from "./filter-errors.ts";
import type { Filter, Operator } from "./filter.ts";
import { withEnumOrders } from "./enum-orders.ts";
import { parseFilter } from "./filter.ts";
import { RecordReader } from "./record-reader.ts";
import { shapeOf } from "./table-shape.ts";

// What walcast says of a filter against what PostgreSQL says of the same condition.

const moods = ["sad", "ok", "Happy", "a,b", ""];
const enumOid = 20_000;

let database: TestDatabase;
let client: Client;

beforeAll(async () => {
  database = await createDatabase(inject("postgresUrl"));
  client = new Client({ connectionString: database.url, options: "-c TimeZone=UTC" });
  await client.connect();
  await client.query(`
    CREATE FUNCTION verdict(condition text) RETURNS text LANGUAGE plpgsql AS $$
      DECLARE answer boolean;
      BEGIN
        EXECUTE 'SELECT ' || condition INTO answer;
        RETURN coalesce(answer::text, 'unknown');
      EXCEPTION WHEN OTHERS THEN RETURN 'refused';
      END $$;
    CREATE TYPE mood AS ENUM (${moods.map((label) => escapeLiteral(label)).join(", ")})`);
});
afterAll(async () => {
  await client.end();
  await database.drop();
});

type Verdict = "true" | "false" | "unknown" | "refused";

/** One value of one column, and one condition on it. */
interface Question {
  /** As SQL writes the type, and as pg_type.typname. */
  readonly type: string;
  readonly name: string;
  /** `null`: the column is. */
  readonly row: string | null;
  readonly operator: Operator;
  readonly isNegated: boolean;
  /** For `in` the list's elements, as an array literal has them. */
  readonly value: string;
}

const comparisons: Readonly<Partial<Record<Operator, string>>> = {
  eq: "=",
  neq: "<>",
  lt: "<",
  lte: "<=",
  gt: ">",
  gte: ">=",
  like: "~~",
  ilike: "~~*",
  match: "~",
  imatch: "~*",
  isdistinct: "IS DISTINCT FROM",
};

const isText = (type: string): boolean => ["text", "varchar", "bpchar", "char(5)"].includes(type);

function sqlOf({ type, name, row, operator, isNegated, value }: Question): string {
  const literal = row === null ? "NULL" : escapeLiteral(row);
  const column = `(${literal}::${type}${isText(type) ? ' COLLATE "C"' : ""})`;
  const isPattern = operator === "like" || operator === "ilike" || operator === "match" || operator === "imatch";
  let condition: string;
  if (operator === "is") condition = `${column} IS ${value}`;
  else if (operator === "in") condition = `${column} = ANY(${escapeLiteral(`{${value}}`)}::${name}[])`;
  else condition = `${column} ${comparisons[operator]} ${escapeLiteral(value)}::${isPattern ? "text" : name}`;
  return isNegated ? `NOT (${condition})` : condition;
}

async function askPostgres(questions: readonly Question[]): Promise<{ verdict: Verdict; json: string | null }[]> {
  const { rows } = await client.query<{ verdict: Verdict; json: string | null }>(
    `SELECT verdict(condition), json FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (condition, json, place)
      ORDER BY place`,
    [questions.map(sqlOf), await recordsOf(questions)],
  );
  return rows;
}

/** The value as JSON of a record; `null` when PostgreSQL has no such value. */
async function recordsOf(questions: readonly Question[]): Promise<(string | null)[]> {
  const values = questions.map(({ type, row }) =>
    row === null ? "'null'" : `coalesce(to_jsonb(${escapeLiteral(row)}::${type})::text, 'null')`,
  );
  const { rows } = await client.query<{ json: string[] }>(`SELECT ARRAY[${values.join(", ")}] AS json`);
  return (rows[0]?.json ?? []).map((json) => json.replace(/^"\\\\x([0-9a-f]*)"$/, '"$1"'));
}

function ourVerdict({ name, operator, isNegated, value }: Question, json: string): Verdict {
  const filter: Filter = [
    { tag: "condition", column: "c", operator, isNegated, value: operator === "in" ? `{${value}}` : value },
  ];
  const logged = { name: "c", type: name, typeOid: name === "mood" ? enumOid : 0, typeModifier: -1, isKey: false };
  const asked = name === "mood" ? { ...logged, labels: moods } : logged;
  const shape = shapeOf([logged]);
  try {
    compileFilter(filter, shapeOf([asked]));
    const [term] = compileFilter(withEnumOrders(filter, [asked]), shape);
    const truth = term?.test(new RecordReader(Buffer.from(`{"c":${json}}`), shape));
    return truth === undefined ? "unknown" : truth ? "true" : "false";
  } catch (error) {
    if (error instanceof FilterTypeError) return "refused";
    throw error;
  }
}

interface Comparison {
  /** How often PostgreSQL said what. */
  readonly count: Record<Verdict, number>;
  /** Where walcast says something else: none, it is hoped. */
  readonly differences: object[];
}

async function compareWithPostgres(questions: readonly Question[]): Promise<Comparison> {
  const count = { true: 0, false: 0, unknown: 0, refused: 0 };
  const differences: object[] = [];
  for (const [i, { verdict, json }] of (await askPostgres(questions)).entries()) {
    const question = questions[i];
    if (question === undefined || json === null) throw new Error("an answer without a question");
    const ours = ourVerdict(question, json);
    if (ours !== verdict) differences.push({ ...question, ours, postgres: verdict });
    count[verdict]++;
  }
  return { count, differences };
}

interface TypeCase {
  readonly type: string;
  readonly name?: string;
  readonly values: fc.Arbitrary<string>;
}

const padded = (value: number): string => String(value).padStart(2, "0");
const small = fc.integer({ min: -3, max: 3 });
const moments = fc
  .tuple(fc.integer({ min: 2023, max: 2025 }), fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 3 }), small)
  .map(
    ([year, month, day, zone]) =>
      `${year}-${padded(month)}-${padded(day)}T12:00:00${zone < 0 ? "-" : "+"}0${Math.abs(zone)}`,
  );

const typed: readonly TypeCase[] = [
  { type: "int2", values: small.map(String) },
  { type: "int4", values: small.map(String) },
  {
    type: "int8",
    values: fc.constantFrom(
      "9007199254740992",
      "9007199254740993",
      "-9007199254740993",
      "9223372036854775807",
      "0",
      "1",
    ),
  },
  {
    type: "numeric",
    values: fc.constantFrom(
      "1",
      "1.0",
      "1.00",
      "-1.5",
      "0.1",
      "0.10000000000000000001",
      "1e20",
      "100000000000000000000",
      "0",
    ),
  },
  { type: "float8", values: fc.constantFrom("0.1", "0.30000000000000004", "0.3", "1e300", "-0", "0", "16777217") },
  { type: "float4", values: fc.constantFrom("0.1", "0.10000001", "1e30", "-0", "16777216", "16777217") },
  { type: "mood", values: fc.constantFrom(...moods) },
  { type: "bool", values: fc.constantFrom("t", "f", "true", "no", "on", "0") },
  {
    type: "text",
    values: fc.constantFrom("", "a", "b", "A", "a ", "ab", "é", "\u{10000}", "\uffff", "null", "a,b", '"', "\\"),
  },
  { type: "varchar", values: fc.constantFrom("", "a", "b", "B") },
  { type: "char(5)", name: "bpchar", values: fc.constantFrom("", "a", "a ", "b", "ab") },
  {
    type: "uuid",
    values: fc.constantFrom(
      "550e8400-e29b-41d4-a716-446655440000",
      "{550E8400-E29B-41D4-A716-446655440000}",
      "00000000-0000-0000-0000-000000000001",
    ),
  },
  { type: "bytea", values: fc.constantFrom("\\x", "\\x00", "\\xff", "\\xdeadbeef", "abc") },
  {
    type: "date",
    values: fc.constantFrom("2024-02-29", "2024-03-01", "infinity", "-infinity", "0044-03-15 BC", "10000-01-01"),
  },
  { type: "time", values: fc.constantFrom("00:00", "12:00:00.000001", "12:00", "24:00") },
  { type: "timetz", values: fc.constantFrom("12:00+00", "13:00+01", "12:00+01", "11:00-01") },
  { type: "timestamp", values: fc.oneof(moments, fc.constantFrom("infinity", "-infinity", "0044-03-15 12:00 BC")) },
  { type: "timestamptz", values: fc.oneof(moments, fc.constantFrom("infinity", "-infinity", "2024-01-01")) },
  {
    type: "interval",
    values: fc.constantFrom("1 mon", "30 days", "720:00:00", "1 day", "-1 day", "24:00:00.000001", "P1D"),
  },
  {
    type: "inet",
    values: fc.constantFrom(
      "10.0.0.1",
      "10.0.0.1/32",
      "10.0.0.1/8",
      "10/8",
      "10.1/16",
      "::1",
      "::ffff:10.0.0.1",
      "::/0",
    ),
  },
  {
    type: "cidr",
    values: fc.constantFrom("10", "10/8", "10.0.0.0/9", "10.0.0.0/32", "192.168/24", "::/0", "2001:DB8::/32"),
  },
  { type: "macaddr", values: fc.constantFrom("08:00:2b:01:02:03", "08002B-010203", "0800.2b01.0204", "f-0-0-0-0-0") },
  { type: "macaddr8", values: fc.constantFrom("08:00:2b:01:02:03", "08002bfffe010203", "ff-00-00-00-00-00-00-00") },
  { type: "money", values: fc.constantFrom("$1,234.50", "1234.5", "-$5", "(5)", "12.3", "90071992547409.93", "0") },
  {
    type: "inet[]",
    name: "_inet",
    values: fc.constantFrom("{}", "{10.0.0.1}", "{10.0.0.1/32,NULL}", "{::1}", "{10/8}"),
  },
  { type: "money[]", name: "_money", values: fc.constantFrom("{}", "{-5}", "{(5)}", '{"$1,234.50"}', "{1234.5}") },
  { type: "int4[]", name: "_int4", values: fc.constantFrom("{}", "{1}", "{1,2}", "{2}", "{NULL}", "{1,NULL}") },
  { type: "jsonb", values: fc.constantFrom("1", "1.0", '"1"', "[]", "{}", '{"a":1}', '{"a": 1.0}', "true", "[1,2]") },
];

const orders = ["eq", "neq", "lt", "lte", "gt", "gte", "isdistinct"] as const;
const nullable = <T>(values: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(values, { freq: 6 });
const manyOf = (question: fc.Arbitrary<Question>): fc.Arbitrary<Question[]> =>
  fc.array(question, { minLength: 100, maxLength: 100 });
/** Fails on the first question that is answered otherwise; shrinking a hundred of them takes long and shows no more. */
const runs = { numRuns: 4, endOnFailure: true };

describe.each(typed)("a column of type $type", ({ type, name = type, values }) => {
  it("is compared as PostgreSQL compares it", async () => {
    const question = fc.record({
      type: fc.constant(type),
      name: fc.constant(name),
      row: nullable(values),
      operator: fc.constantFrom(...orders),
      isNegated: fc.boolean(),
      value: fc.oneof({ weight: 9, arbitrary: values }, { weight: 1, arbitrary: fc.constant("no such value \\") }),
    });
    await fc.assert(
      fc.asyncProperty(manyOf(question), async (questions) => {
        expect((await compareWithPostgres(questions)).differences).toEqual([]);
      }),
      runs,
    );
  });

  if (name.startsWith("_")) return; // `in` on an array column takes lists of arrays, which nobody can spell in a filter
  it("is looked for in lists as PostgreSQL does", async () => {
    const quoted = (text: string): string => `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
    const bare = values.filter((value) => /^[\w.+: {}-]+$/.test(value) && !/[{}]/.test(value));
    const element = fc.oneof(values.map(quoted), bare, fc.constantFrom("NULL", " NULL ", "null"));
    // Of an empty list SQL says false even for null, the peer says nothing of null (protocol.md 4.8).
    const list = fc.array(element, { minLength: 1, maxLength: 4 });
    const question = fc.record({
      type: fc.constant(type),
      name: fc.constant(name),
      row: nullable(values),
      operator: fc.constant("in" as const),
      isNegated: fc.boolean(),
      value: list.map((elements) => elements.join(", ")),
    });
    await fc.assert(
      fc.asyncProperty(manyOf(question), async (questions) => {
        expect((await compareWithPostgres(questions)).differences).toEqual([]);
      }),
      runs,
    );
  });
});

const textTypes = [
  { type: "text", name: "text" },
  { type: "varchar", name: "varchar" },
  { type: "char(5)", name: "bpchar" },
];

describe.each(textTypes)("patterns on $type", ({ type, name }) => {
  const ask = async (
    operators: readonly Operator[],
    rows: fc.Arbitrary<string>,
    patterns: fc.Arbitrary<string>,
  ): Promise<Record<Verdict, number>> => {
    const total = { true: 0, false: 0, unknown: 0, refused: 0 };
    const question = fc.record({
      type: fc.constant(type),
      name: fc.constant(name),
      row: rows, // of null PostgreSQL says nothing before it looks at the pattern
      operator: fc.constantFrom(...operators),
      isNegated: fc.boolean(),
      value: patterns,
    });
    await fc.assert(
      fc.asyncProperty(manyOf(question), async (questions) => {
        const { count, differences } = await compareWithPostgres(questions);
        expect(differences).toEqual([]);
        for (const verdict of ["true", "false", "unknown", "refused"] as const) total[verdict] += count[verdict];
      }),
      { ...runs, numRuns: 12 },
    );
    return total;
  };
  const pieces = (parts: readonly string[], maxLength: number): fc.Arbitrary<string> =>
    fc.array(fc.constantFrom(...parts), { maxLength }).map((all) => all.join(""));

  it("of like and ilike are PostgreSQL's", async () => {
    const rows = pieces(["a", "b", "A", "%", "_", "\\", "\n", "☕", "\u{1f600}"], type === "char(5)" ? 4 : 6);
    // A pattern that ends in a backslash is refused by walcast always, by PostgreSQL only when a text gets that far.
    const patterns = pieces(["a", "b", "B", "%", "_", "%", "\\%", "\\_", "\\\\", "☕", "\u{1f600}", "\\a"], 7);
    expect(await ask(["like", "ilike"], rows, patterns)).toMatchObject({ refused: 0 });
  });

  it("of match and imatch are PostgreSQL's", async () => {
    const rows = pieces(["a", "b", "A", "1", " ", "\n", "-", "_", ".", "]", "{", "☕"], type === "char(5)" ? 4 : 6);
    const atoms = ["a", "b", "B", ".", "[ab]", "[^a]", "[]a]", "[a-b-]", "[[:alpha:]]", "[[:digit:]_]", "[^[:space:]]"];
    const escapes = [
      String.raw`\d`,
      String.raw`\w`,
      String.raw`\s`,
      String.raw`\D`,
      String.raw`\S`,
      String.raw`\.`,
      String.raw`\n`,
      String.raw`[\d]`,
      String.raw`\x61`,
      String.raw`\u0062`,
      "☕",
      "-",
      "_",
      "1",
    ];
    const others = [
      "(",
      ")",
      "(?:",
      "|",
      "^",
      "$",
      "*",
      "+",
      "?",
      "{1}",
      "{1,2}",
      "{2,}",
      "{",
      "{x",
      "}",
      "]",
      String.raw`\A`,
      String.raw`\Z`,
      String.raw`\y`,
      "*?",
      "{2,1}",
      "{256}",
      "[b-a]",
      "[",
      "[[:nope:]]",
    ];
    const wild = pieces([...atoms, ...escapes, ...others], 6);
    const tame = pieces([...atoms, ...escapes, "a*", "b+", "(a|b)", "1?", "(?:a|)", "[ab]{1,2}", "^", "$"], 4);
    // Not supported: complements inside of brackets.
    const patterns = fc
      .oneof(
        tame,
        wild,
        tame.map((text) => `(?i)${text}`),
      )
      .filter((text) => !/\[[^\]]*\\[DS]/.test(text));
    const count = await ask(["match", "imatch"], rows, patterns);
    expect(count.true).toBeGreaterThan(100);
    expect(count.refused).toBeGreaterThan(10);
  });
});

describe("is", () => {
  it("answers as SQL does", async () => {
    const booleans = ["null", "true", "false", "unknown"].flatMap((value) =>
      ["t", "f", null].flatMap((row) =>
        [true, false].map((isNegated) => ({
          type: "bool",
          name: "bool",
          row,
          operator: "is" as const,
          isNegated,
          value,
        })),
      ),
    );
    const nulls = ["int4", "text", "jsonb", "timestamptz"].flatMap((type) =>
      [null, type === "timestamptz" ? "2024-01-01" : "1"].flatMap((row) =>
        [true, false].map((isNegated) => ({
          type,
          name: type,
          row,
          operator: "is" as const,
          isNegated,
          value: "null",
        })),
      ),
    );
    expect((await compareWithPostgres([...booleans, ...nulls])).differences).toEqual([]);
  });
});

describe("groups and paths, which PostgreSQL's own expressions say as well", () => {
  const rows = [
    { a: 1, b: null, c: "x", d: { kind: "x", n: 2, list: [{ x: "q" }, 5], deep: { b: null } } },
    { a: null, b: true, c: null, d: null },
    { a: 3, b: false, c: "y", d: { kind: null, n: 10, list: [] } },
    { a: 5, b: null, c: "x%", d: [1, { x: "q" }] },
    { a: 0, b: true, c: "", d: { kind: 'a"b', n: "2", list: [[1]], deep: { b: "v" } } },
  ];
  const columns = [
    ["a", "int4"],
    ["b", "bool"],
    ["c", "text"],
    ["d", "jsonb"],
  ].map(([name = "", type = ""]) => ({ name, type, typeOid: 0, typeModifier: -1, isKey: false }));

  it.each([
    ["or=(a.eq.1,a.gt.4)", "a = 1 OR a > 4"],
    ["or=(a.eq.1,b.is.true)", "a = 1 OR b IS TRUE"],
    ["or=(a.eq.1,b.eq.true)", "a = 1 OR b = true"],
    ["not.or=(a.eq.1,b.eq.true)", "NOT (a = 1 OR b = true)"],
    ["and=(a.gte.1,c.like.x*)", "a >= 1 AND c LIKE 'x*'"],
    ["not.and=(a.gte.1,c.like.x%)", "NOT (a >= 1 AND c LIKE 'x%')"],
    ["or=(a.eq.3,and(a.lt.2,not.c.is.null))", "a = 3 OR (a < 2 AND NOT c IS NULL)"],
    ["or=(a.not.in.(1,3),not.and(b.is.null,c.eq.x))", "NOT a = ANY('{1,3}') OR NOT (b IS NULL AND c = 'x')"],
    ["a=gte.0,or=(c.eq.x,c.eq.y)", "a >= 0 AND (c = 'x' OR c = 'y')"],
    ['or=(c.eq."x%",c.eq."")', "c = 'x%' OR c = ''"],
    ["d->>kind=eq.x", "d->>'kind' = 'x'"],
    ["d->>kind=neq.x", "d->>'kind' <> 'x'"],
    ["d->>kind=is.null", "d->>'kind' IS NULL"],
    ["d->>kind=not.is.null", "d->>'kind' IS NOT NULL"],
    ["d->kind=is.null", "d->'kind' IS NULL"],
    ['d->>kind=eq."a\\"b"', `d->>'kind' = 'a"b'`],
    ["d->>n=eq.2", "d->>'n' = '2'"],
    ["d->n=eq.2", "d->'n' = '2'"],
    ["d->n=gt.2", "d->'n' > '2'"],
    ["d->n=in.(2,10)", "d->'n' = ANY('{2,10}'::jsonb[])"],
    ["d->list=eq.[]", "d->'list' = '[]'"],
    ["d->list->0->>x=eq.q", "d->'list'->0->>'x' = 'q'"],
    ["d->list->-1=eq.5", "d->'list'->-1 = '5'"],
    ["d->1->>x=like.q%", "d->1->>'x' LIKE 'q%'"],
    ["d->deep->>b=match.^v$", "d->'deep'->>'b' ~ '^v$'"],
    ["d->deep->b=isdistinct.1", "d->'deep'->'b' IS DISTINCT FROM '1'"],
    [String.raw`d=eq."[1,{\"x\":\"q\"}]"`, `d = '[1,{"x":"q"}]'`],
    ["or=(d->>kind.eq.x,d->n.gte.10)", "d->>'kind' = 'x' OR d->'n' >= '10'"],
  ])("%s", async (filter, condition) => {
    const { rows: expected } = await client.query<{ passes: boolean }>(
      `SELECT coalesce(${condition}, false) AS passes
         FROM jsonb_array_elements($1) WITH ORDINALITY AS e (value, place), jsonb_to_record(value) AS r (a int, b bool, c text, d jsonb)
        ORDER BY place`,
      [JSON.stringify(rows)],
    );
    const shape = shapeOf(columns);
    const terms = compileFilter(parseFilter(filter), shape);
    const passes = rows.map((row) =>
      terms.every(({ test }) => test(new RecordReader(Buffer.from(JSON.stringify(row)), shape)) === true),
    );
    expect(passes).toEqual(expected.map((row) => row.passes));
  });
});
