// Over 400 lines: a generator of values for each type; they share what asks PostgreSQL about them.

import { createDatabase, type TestDatabase } from "@walcast/testkit";
import fc from "fast-check";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { comparableType, type Comparable } from "./comparable.ts";

let database: TestDatabase;
let client: Client;

beforeAll(async () => {
  database = await createDatabase(inject("postgresUrl"));
  client = new Client({ connectionString: database.url, options: "-c TimeZone=UTC -c extra_float_digits=1" });
  await client.connect();
  // Text is compared by code point here, whatever the database's collation.
  const collation = `CASE WHEN type IN ('text', 'varchar', 'bpchar', 'text[]') THEN 'COLLATE "C"' ELSE '' END`;
  await client.query(`
    CREATE FUNCTION as_record(value text, type text) RETURNS text LANGUAGE plpgsql AS $$
      DECLARE json text;
      BEGIN
        EXECUTE format(CASE type WHEN 'jsonb' THEN 'SELECT %L::%s::text' ELSE 'SELECT to_jsonb(%L::%s) #>> ''{}''' END,
                       value, type) INTO json;
        RETURN json;
      EXCEPTION WHEN OTHERS THEN RETURN NULL;
      END $$;
    CREATE FUNCTION refusal(value text, type text) RETURNS text LANGUAGE plpgsql AS $$
      BEGIN
        EXECUTE format('SELECT %L::%s', value, type);
        RETURN NULL;
      EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
      END $$;
    CREATE FUNCTION compare(a text, b text, type text) RETURNS int LANGUAGE plpgsql AS $$
      DECLARE answer int;
      BEGIN
        EXECUTE format('SELECT CASE WHEN a < b THEN -1 WHEN a = b THEN 0 ELSE 1 END
                          FROM (SELECT %1$L::%3$s %4$s AS a, %2$L::%3$s AS b) x', a, b, type, ${collation}) INTO answer;
        RETURN answer;
      EXCEPTION WHEN OTHERS THEN RETURN NULL;
      END $$`);
});
afterAll(async () => {
  await client.end();
  await database.drop();
});

interface Verdict {
  readonly a: string;
  readonly b: string;
  /** The value's text as a record carries it; null when PostgreSQL refuses the input. */
  readonly a_record: string | null;
  readonly b_record: string | null;
  readonly order: number | null;
}

async function ask(type: string, pairs: readonly (readonly [string, string])[]): Promise<Verdict[]> {
  const { rows } = await client.query<Verdict>(
    `SELECT a, b, as_record(a, $3) AS a_record, as_record(b, $3) AS b_record, compare(a, b, $3) AS order
       FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS pair (a, b, place) ORDER BY place`,
    [pairs.map(([a]) => a), pairs.map(([, b]) => b), type],
  );
  return rows;
}

interface TypeCase {
  /** As SQL writes it, and as pg_type.typname. */
  readonly type: string;
  readonly name?: string;
  /** Texts that walcast and PostgreSQL both take. */
  readonly values: fc.Arbitrary<string>;
  /** Texts at the edges of the type: PostgreSQL decides. */
  readonly edges: readonly string[];
}

const integers = (bits: bigint): fc.Arbitrary<string> =>
  fc
    .tuple(fc.bigInt({ min: -(1n << (bits - 1n)), max: (1n << (bits - 1n)) - 1n }), fc.constantFrom("", " ", "\t\n"))
    .map(([value, space]) => `${space}${value}${space}`);
const digits = (maxLength: number): fc.Arbitrary<string> =>
  fc.array(fc.constantFrom("0", "1", "5", "9"), { minLength: 1, maxLength }).map((parts) => parts.join(""));
const decimals = (exponents: fc.Arbitrary<number>): fc.Arbitrary<string> =>
  fc
    .tuple(fc.constantFrom("", "-", "+"), digits(6), fc.option(digits(6)), fc.option(exponents))
    .map(
      ([sign, whole, fraction, exponent]) =>
        `${sign}${whole}${fraction === null ? "" : `.${fraction}`}${exponent === null ? "" : `e${exponent}`}`,
    );
const padded = (value: number, length = 2): string => String(value).padStart(length, "0");
const dates = fc
  .tuple(
    fc.integer({ min: 1, max: 4000 }),
    fc.integer({ min: 1, max: 12 }),
    fc.integer({ min: 1, max: 28 }),
    fc.constantFrom("", "", " BC", " AD"),
  )
  .map(([year, month, day, era]) => ({ day: `${padded(year, 4)}-${padded(month)}-${padded(day)}`, era }));
const times = fc
  .tuple(fc.nat(23), fc.nat(59), fc.option(fc.nat(59)), fc.option(digits(6)))
  .map(([hour, minute, second, fraction]) => {
    const seconds = second === null ? "" : `:${padded(second)}${fraction === null ? "" : `.${fraction}`}`;
    return `${padded(hour)}:${padded(minute)}${seconds}`;
  });
const zones = fc.constantFrom("", "Z", "+00", "+02", "-03:30", "+0545", "+5", "-930", " +01", "+05:30:15", "-15:59:59");
const moments = fc
  .tuple(dates, fc.constantFrom("T", " "), times, zones)
  .map(([{ day, era }, separator, time, zone]) => `${day}${separator}${time}${zone}${era}`);
const intervals = fc.oneof(
  fc
    .array(
      fc.tuple(
        fc.integer({ min: -400, max: 400 }),
        fc.constantFrom("year", "mons", "day", "weeks", "hours", "min", "secs"),
      ),
      {
        minLength: 1,
        maxLength: 3,
      },
    )
    .map((parts) =>
      [...new Map(parts.map(([amount, unit]) => [unit, amount]))]
        .map(([unit, amount]) => `${amount} ${unit}`)
        .join(" "),
    ),
  times.map((time) => `1 year 2 mons -3 days +${time}`),
  times.map((time) => `-${time}`),
  fc.constantFrom("P1Y2M3DT4H5M6.7S", "PT36H", "P-1D", "P2W", "1.5 seconds", "-0.5 sec"),
);
const hex = fc.uint8Array({ maxLength: 6 }).map((bytes) => `\\x${Buffer.from(bytes).toString("hex")}`);
const words = fc.string({ unit: "binary", maxLength: 8 }).filter((text) => !text.includes("\0"));

const oneOf = (...parts: string[]): fc.Arbitrary<string> => fc.constantFrom(...parts);
const joined = (...parts: fc.Arbitrary<string>[]): fc.Arbitrary<string> =>
  fc.tuple(...parts).map((texts) => texts.join(""));
const masks = (most: number): fc.Arbitrary<string> => fc.nat(most).map((bits) => `/${bits}`);
/** Few different ones, so that networks contain each other. */
const octets = (count: number): fc.Arbitrary<string> =>
  fc
    .array(fc.oneof(oneOf("0", "1", "127", "128", "255"), fc.nat(255).map(String)), {
      minLength: count,
      maxLength: count,
    })
    .map((parts) => parts.join("."));
/** Without and with an abbreviation of zeros; the last 32 bits also as IPv4. */
const ipv6 = fc
  .tuple(
    fc.array(oneOf("0", "1", "ffff", "8000", "ABC"), { minLength: 6, maxLength: 6 }),
    fc.oneof(octets(4), oneOf("0:1", "ffff:8000")),
    fc.nat(5),
    fc.nat(5),
  )
  .map(([groups, last, from, count]) => {
    if (count === 0) return [...groups, last].join(":");
    return `${groups.slice(0, from).join(":")}::${[...groups.slice(from + count), last].join(":")}`;
  });
const inets = fc.oneof(
  octets(4),
  joined(octets(4), masks(32)),
  joined(octets(2), masks(23)),
  ipv6,
  joined(ipv6, masks(128)),
  oneOf("10.0.0.1", "10.0.0.1/32", "10/8", "010.1/15", "10.0.0.1.", "::ffff:1.2.3.4", "::", "::1", "::/0", "1::2:/64"),
);
const cidrs = fc.oneof(
  octets(4),
  octets(3).map((three) => `${three}.0/24`),
  octets(2),
  octets(1),
  joined(octets(2), oneOf("/16", "/17", "/24", "/32")),
  ipv6,
  fc
    .array(oneOf("0", "1", "ffff", "8000"), { maxLength: 3 })
    .map((groups) => `${groups.join(":")}::/${16 * groups.length}`),
  oneOf("10", "192.168/24", "224", "224.1", "0xA", "0x0a01", "0xe0/8", "0x0a010", "::ffff:1.2.3.4", "::/0", "0/0"),
);
const octet = fc.nat(255).map((value) => value.toString(16).padStart(2, "0"));
const macOf = (...separators: string[]): fc.Arbitrary<string> =>
  joined(...separators.flatMap((separator) => [octet, fc.constant(separator)]), octet);
const macs = fc.oneof(
  macOf(":", ":", ":", ":", ":"),
  macOf("-", "-", "-", "-", "-"),
  macOf("", "", ":", "", ""),
  macOf("", "", "-", "", ""),
  macOf("", ".", "", ".", ""),
  macOf("", "-", "", "-", ""),
  macOf("", "", "", "", "").map((text) => text.toUpperCase()),
);
const eui64s = oneOf(":", "-", ".", "").chain((separator) => macOf(...Array.from({ length: 7 }, () => separator)));
const amounts = fc.oneof(
  joined(
    oneOf("", "$", "-", "+", "-$", "$-", "$ -", "("),
    oneOf("0", "1", "12", "1,234", "1234567", "1,2,3", ",5", "90071992547409", "92233720368547757", ""),
    fc.oneof(oneOf("", "."), joined(oneOf("."), digits(4))),
    oneOf("", "", ")", "-", " $", "+", "$ - "),
  ),
  oneOf("$1,234.50", "1234.5", "-$5", "(5)", "-5", "12.3", " $ 12.30 ", "5.995", "6", "90071992547409.92"),
);

const cases: readonly TypeCase[] = [
  { type: "int2", values: integers(16n), edges: ["32768", "-32769", "1.0", "", "+7", "- 7", "0x1", "１"] },
  {
    type: "int4",
    values: integers(32n),
    edges: ["2147483648", "-2147483649", "1e2", "\u00a07", "7\u2003", "07", "-0"],
  },
  { type: "int8", values: integers(64n), edges: ["9223372036854775808", "-9223372036854775809", "abc", "1 2"] },
  { type: "oid", values: fc.nat(4_294_967_295).map(String), edges: ["4294967296", "-1", "010", "-4294967295"] },
  {
    type: "numeric",
    values: fc.oneof(
      decimals(fc.integer({ min: -400, max: 400 })),
      fc.constantFrom("NaN", "inf", "-Infinity", " nan "),
    ),
    edges: [
      "Inf",
      "+Infinity",
      "-nan",
      "123456789012345678901234567890.1234567890",
      "123456789012345678901234567890.123456789",
      "",
      ".",
      "1.",
      ".5",
      "-.5e1",
      "1e",
      "1e+",
      "e5",
      "--1",
      "1 2",
      "\u00a01",
      "0.10",
      "0.1",
      "-0",
      "0",
      "1e9999",
      "1e-9999",
    ],
  },
  {
    type: "float8",
    values: fc.oneof(
      decimals(fc.integer({ min: -290, max: 290 })),
      fc.constantFrom("Infinity", "-inf", "+INFINITY", "NaN"),
    ),
    edges: [
      "1e400",
      "-1e400",
      "1e-400",
      "0e400",
      "",
      ".",
      "1.",
      ".5",
      "infinit",
      "1,5",
      "\u00a01",
      "-0",
      "0",
      "4.9e-324",
      "2e-324",
    ],
  },
  {
    type: "float4",
    values: decimals(fc.integer({ min: -25, max: 25 })),
    edges: ["1e39", "-1e39", "1e-50", "3.4028235e38", "3.5e38", "1.1", "1.10000002", "16777217", "16777216", "1e-45"],
  },
  {
    type: "bool",
    values: fc.constantFrom(
      "t",
      "f",
      "true",
      "false",
      "TRUE",
      "yes",
      "no",
      "y",
      "n",
      "on",
      "off",
      "of",
      "1",
      "0",
      " t ",
      "tr",
    ),
    edges: ["o", "", "2", "01", "tru e", "truee", "\u00a0t", "ja"],
  },
  {
    type: "text",
    values: words,
    edges: ["", " ", "a", "a ", "\uFFFF", "\u{10000}", "\uD7FF", "\uE000", "é", "e\u0301"],
  },
  { type: "varchar", values: words, edges: ["Z", "a", "_"] },
  { type: "bpchar", values: words, edges: ["a", "a ", "a  ", " a", "", " ", "a\t"] },
  {
    type: "bytea",
    values: fc.oneof(hex, fc.constantFrom("deadbeef", "", "text", "é", "a\\\\b", "\\000\\377", "\\x de ad\n")),
    edges: ["\\x", "\\x0", "\\xzz", "\\xDEADbeef", "\\xdeadbeef", "\\", "\\1", "\\400", "\\q", "\\x d e", "Þ­¾ï"],
  },
  {
    type: "uuid",
    values: fc.tuple(fc.uuid(), fc.constantFrom("", "{", "upper", "bare")).map(([uuid, form]) => {
      if (form === "{") return `{${uuid}}`;
      if (form === "upper") return uuid.toUpperCase();
      return form === "bare" ? uuid.replaceAll("-", "") : uuid;
    }),
    edges: [
      " 550e8400-e29b-41d4-a716-446655440000",
      "550e8400e29b41d4a716446655440000}",
      "{550e8400e29b41d4a716446655440000",
      "5-50e8400e29b41d4a716446655440000",
      "550e-8400-e29b-41d4-a716-4466-5544-0000",
      "550e8400e29b41d4a716446655440000-",
      "550e8400-e29b-41d4-a716-44665544000",
    ],
  },
  {
    type: "date",
    values: fc.oneof(
      dates.map(({ day, era }) => `${day}${era}`),
      fc.constantFrom("infinity", "-infinity", " Infinity ", "2024-2-9", "5874897-12-31", "4714-11-24 BC"),
    ),
    edges: [
      "2024-02-30",
      "2023-02-29",
      "2024-04-31",
      "2024-13-01",
      "2024-00-10",
      "2024-01-00",
      "0000-01-01",
      "infinity BC",
      "0001-02-29 BC",
      "0002-02-29 BC",
      "5874898-01-01",
      "4714-11-23 BC",
      "\u00a02024-01-01",
      "2024-01-01\u00a0BC",
      "2024-01",
    ],
  },
  {
    type: "time",
    values: times,
    edges: [
      "24:00",
      "24:00:00",
      "24:00:01",
      "24:30",
      "25:00",
      "12:60",
      "12:59:60",
      "12:59:61",
      "23:59:60",
      "23:59:60.5",
      "12:00:00.",
      "12",
      "\u00a012:00",
    ],
  },
  {
    type: "timetz",
    values: fc
      .tuple(
        times,
        zones.filter((zone) => zone !== "" && !zone.includes("15:59")),
      )
      .map((parts) => parts.join("")),
    edges: ["12:00+16", "12:00", "24:00Z", "00:00+00", "01:00+01", "12:00 Europe/Berlin", "12:61+00"],
  },
  {
    type: "interval",
    values: intervals,
    edges: [
      "1 month",
      "30 days",
      "720:00",
      "1 year",
      "360 days",
      "",
      "1",
      "day",
      "1 fortnite",
      "1:60",
      "1 day x",
      "P",
      "PT",
    ],
  },
  {
    type: "int4[]",
    name: "_int4",
    values: fc
      .array(fc.option(fc.integer({ min: -2, max: 2 }), { nil: "NULL" }), { maxLength: 3 })
      .map((of) => `{${of.join(", ")}}`),
    edges: ["{}", "{1,2}", "{{1,2}}", "{{1},{2}}", "{1", "1", "{1,}", "{x}", "{{1,2},{3,4}}", "{1}x", '{"1"}', "{ 1 }"],
  },
  {
    type: "text[]",
    name: "_text",
    values: fc
      .array(fc.string({ unit: fc.constantFrom("a", "b", "é"), minLength: 1, maxLength: 2 }), { maxLength: 3 })
      .map((of) => `{${of.join(",")}}`),
    edges: ['{"a,b"}', '{"NULL"}', "{null}", '{""}', "{a b}", String.raw`{a\,b}`],
  },
  {
    type: "jsonb",
    values: fc
      .oneof(
        fc.jsonValue({ depthSize: "small" }).map((value) => JSON.stringify(value)),
        fc.constantFrom(
          "1.0",
          "1",
          "1e2",
          "100",
          "[]",
          "{}",
          '{"b":1,"a":2}',
          '{"aa":1,"b":2}',
          '{"a":1,"a":2}',
          '"x"',
          "9007199254740993",
        ),
      )
      .filter((text) => !/\\u0000|\\ud[89a-f]/.test(text)),
    edges: ["", "x", "'a'", "{a:1}", "[1,]", "01", "nul"],
  },
  {
    type: "timestamp",
    values: fc.oneof(moments, fc.constantFrom("infinity", "-infinity", "2024-02-29", "294276-12-31 23:59:59.999999")),
    edges: [
      "2024-02-30 00:00",
      "2024-01-01 24:00",
      "2024-01-01 24:01",
      "294277-01-01",
      "300000-01-01",
      "4714-11-24 BC",
      "4714-11-23 BC",
      "0000-01-01",
      "2024-01-01T",
      "2024-01-01T 12:00",
      "2024-01-01 12:00+16",
      "2024-01-01 12:00+02:60",
      "2024-01-01t12:00z",
      "2024-01-01  12:00",
      "2024-01-01\u00a012:00",
      "2024-01-01 12:00 BC",
      "infinity BC",
      "2024-01-01 12:00+053015",
      "2024-01-01 12:00+05:3015",
      "2024-01-01 12:00\u00a0+01",
    ],
  },
  {
    type: "timestamptz",
    values: fc.oneof(moments, fc.constantFrom("infinity", "-infinity", "2024-02-29", "2024-02-29 00:00+00")),
    edges: [
      "2024-01-01 12:00+15:59",
      "2024-01-01 12:00+16",
      "2024-01-01 12:00-99",
      "2024-01-01 12:00+02:60",
      "2024-01-01 12:00:00+02:00:60",
      "294276-12-31 23:59:59+00",
      "294276-12-31 23:59:59-01",
      "4714-11-24 00:00+00 BC",
      "4714-11-24 00:00+01 BC",
      "2024-01-01 12:00+",
      "2024-01-01 12:00+530",
      "2024-01-01 12:00+0530",
      "2024-01-01 12:00+5:30",
    ],
  },
  {
    type: "inet",
    values: inets,
    edges: [
      "10/15",
      "10/16",
      "10",
      "10.0.0.0/33",
      "10.0.0.256",
      "010.000.000.001/032",
      "1.2.3.4.5",
      "10./8",
      "10..1",
      " 10.0.0.1",
      "10.0.0.1/",
      "0x0a/8",
      "::1/129",
      "::1/064",
      "::1.2",
      "::1..2",
      "::1.02.3.4",
      "::1.2.3.",
      "::1.2.3./96",
      "1:2:3:4:5:6:7::",
      "1:2:3:4:5:6:7:8:",
      "1:2:3:4:5:6:7:8:/64",
      "1:2:3:4:5:6:7::8",
      "1:2:3:4:5:6:7:1.2.3.4",
      "::1:2:3:4:5:6:7:8",
      ":::",
      "1::2::3",
      ":1",
      "1:",
      "12345::",
      "::g",
      "fe80::1%eth0",
      "",
      "/8",
      "::",
      "0.0.0.0",
    ],
  },
  {
    type: "cidr",
    values: cidrs,
    edges: [
      "10.1.2.3/8",
      "192.168.0.1/24",
      "192.168/15",
      "239",
      "240",
      "128",
      "192",
      "10.0.0.0.",
      "10/33",
      "0x",
      "0x0a01020304",
      "0x0a010203/16",
      "0xg",
      "::1/64",
      "::1",
      "2001:db8::/32",
      "2001:db8::/31",
      "256",
      "",
      "10.0.0.0/8",
      "10",
    ],
  },
  {
    type: "macaddr",
    values: fc.oneof(
      macs,
      oneOf("8:0:2b:1:2:3", " 08:00:2b:01:02:03\t", "08 00 2b 01 02 03", "08002b01020", "8-0-2B-1-2-3"),
    ),
    edges: [
      "08:00:2b:01:02:100",
      "100-00-00-00-00-00",
      "0008:0000:2b:01:02:03",
      "08:00:2b:01:02",
      "08:00:2b:01:02:03:04",
      "08:00-2b:01:02:03",
      "0800.2b01.0203",
      "0800.2b01-0203",
      "0800:2b01:0203",
      "08002b010203",
      "08002b0102033",
      "08002b0102",
      "08002b:010203x",
      "08:00:2b:01:02:0g",
      "\u00a008:00:2b:01:02:03",
      "",
    ],
  },
  {
    type: "macaddr8",
    values: fc.oneof(
      macs,
      eui64s,
      oneOf(" 08:00:2b:01:02:03 ", "08002b-0102030405", "08:00:2b:ff:fe:01:02:03", "0800.2b01.0203.0405"),
    ),
    edges: [
      "08:00:2b:01:02:03:04",
      "08:00:2b:01:02:03:04:05:06",
      "08:00-2b:01:02:03",
      "8:0:2b:1:2:3",
      "08:00:2b:01:02:0g",
      "08:00:2b:01:02:03 04:05",
      "08::00:2b:01:02:03",
      ":08:00:2b:01:02:03",
      "08:00:2b:01:02:03:",
      "080 02b010203",
      "",
    ],
  },
  {
    type: "money",
    values: amounts,
    edges: [
      "92233720368547758.07",
      "92233720368547758.08",
      "-92233720368547758.08",
      "92233720368547758.08-",
      "92233720368547758.08x",
      "-92233720368547758.085",
      "-92233720368547758.084",
      "92233720368547758075",
      "000000000000000000000000000001",
      "",
      "$",
      "$$5",
      "$ $5",
      "$$$5",
      "--5",
      "-(5)",
      "5)",
      "5(",
      "1.2.3",
      "1.23,4",
      "1.235,4",
      "1.,2,3,6",
      "1 2",
      "1e2",
      "€5",
      "NaN",
      "\u00a05",
    ],
  },
];

describe("a value of a filter", () => {
  describe.each(cases)("of type $type", ({ type, name = type, values, edges }) => {
    const comparable = comparableType(name);
    /** A filter's text as it is, and with a character put in or taken out. */
    const mangled = fc
      .tuple(values, fc.nat(30), fc.constantFrom("", " ", "-", "0", "9", ".", "x", ":", "\u00a0", "é"))
      .map(([text, at, put]) => {
        const place = at % (text.length + 1);
        return put === ""
          ? text.slice(0, place) + text.slice(place + 1)
          : text.slice(0, place) + put + text.slice(place);
      });
    const recordOf = (text: string): string => (type === "bytea" ? text.replace(/^\\x/, "") : text);
    const isSame = (a: Comparable | undefined, b: Comparable | undefined): boolean => new Set([a]).has(b);

    function check({ a, b, a_record, b_record, order }: Verdict): void {
      const [left, right] = [comparable.parse(a), comparable.parse(b)];
      // What PostgreSQL refuses is refused; some forms that PostgreSQL takes are not (see "not taken").
      if (a_record === null) expect({ a, left }).toEqual({ a, left: undefined });
      if (b_record === null) expect({ b, right }).toEqual({ b, right: undefined });
      if (left === undefined || right === undefined || order === null) return;
      expect({ a, b, order: Math.sign(comparable.compare(left, right)) }).toEqual({ a, b, order });
      // Equal values are equal keys: the index finds equality by them.
      expect({ a, b, isSame: isSame(left, right) }).toEqual({ a, b, isSame: order === 0 });
      // A record's own text of a value is the same value.
      expect({ a, left: comparable.read(recordOf(a_record ?? "")) }).toEqual({ a, left });
    }

    it("is taken, and ordered as PostgreSQL orders it", async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.tuple(values, values), { minLength: 100, maxLength: 100 }), async (pairs) => {
          for (const verdict of await ask(type, pairs)) {
            expect(comparable.parse(verdict.a)).not.toBeUndefined();
            expect(verdict.order).not.toBeNull();
            check(verdict);
          }
        }),
        { numRuns: 8 },
      );
    });

    it("is refused when PostgreSQL refuses it", async () => {
      const pairs = edges.flatMap((a) => edges.map((b) => [a, b] as const));
      (await ask(type, pairs)).forEach(check);
      await fc.assert(
        fc.asyncProperty(fc.array(fc.tuple(mangled, mangled), { minLength: 100, maxLength: 100 }), async (all) => {
          // PostgreSQL 14 refuses "1. second", its successors take it.
          const some = all.filter((pair) => pair.every((text) => !/\d\.(?!\d)/u.test(text)));
          (await ask(type, some)).forEach(check);
        }),
        { numRuns: 8 },
      );
    });
  });

  it.each([
    ["int2", "32768"],
    ["int4", "x"],
    ["int4", ""],
    ["int4", " 2147483648"],
    ["int8", "9223372036854775808"],
    ["oid", "x"],
    ["numeric", "1,5"],
    ["float8", "abc"],
    ["float8", "1e400"],
    ["float4", "1e39"],
    ["bool", "maybe"],
    ["bytea", "\\1"],
    ["uuid", "550e8400"],
    ["date", "tomorrows"],
    ["date", "2024-13-01"],
    ["time", "x"],
    ["time", "25:00"],
    ["timetz", "x"],
    ["interval", "long"],
    ["timestamp", "2024-02-30 00:00"],
    ["timestamp", "never"],
    ["timestamptz", "then"],
    ["timestamptz", "2024-02-30T00:00:00Z"],
    ["jsonb", "{a}"],
    ["inet", "10.0.0"],
    ["inet", "fe80::1%eth0"],
    ["cidr", "10.0.0.256"],
    ["cidr", "10.1.2.3/8"],
    ["cidr", "2001:db8::1/32"],
    ["macaddr", "08:00:2b"],
    ["macaddr", "08:00:2b:01:02:100"],
    ["macaddr8", "08:00:2b:01:02:03:04"],
    ["money", "five"],
    ["money", "92233720368547758.08"],
    ["money", "100000000000000000000x"],
    ["money", "92233720368547758.08x"],
  ])("that is no %s is refused in PostgreSQL's words: %j", async (type, text) => {
    const { rows } = await client.query<{ refusal: string }>("SELECT refusal($1, $2)", [text, type]);
    expect(
      comparableType(type)
        .refusal(text)
        .replace(/ \(\w+\)/, ""),
    ).toBe(rows[0]?.refusal);
  });

  // Every one of these is valid in PostgreSQL. Filters are written by programs, which write the plain forms.
  it.each([
    ["int4", "0x1F"],
    ["int4", "1_000"],
    ["oid", "-1"],
    ["date", "January 8, 1999"],
    ["date", "20240229"],
    ["time", "04:05 PM"],
    ["time", "12:00:00.1234567"],
    ["timestamp", "now"],
    ["timestamptz", "2024-01-01 12:00 Europe/Berlin"],
    ["macaddr", "0x8:0:2b:1:2:3"],
    ["macaddr", "08-00-2b-01"],
    ["macaddr8", "08:00:2b:01:02:03x"],
  ])("is not taken in every form that PostgreSQL knows: %s %s", (type, text) => {
    expect(comparableType(type).parse(text)).toBeUndefined();
  });
});
