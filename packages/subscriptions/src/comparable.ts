import { arrayType } from "./array-type.ts";
import { parseBytea } from "./bytea.ts";
import { parseDate, parseTime, parseTimestamp, parseTimetz } from "./datetime.ts";
import { parseInterval } from "./interval.ts";
import { compareJson, parseJsonb } from "./jsonb.ts";
import { hasTooLargeOctet, parseMacaddr, parseMacaddr8 } from "./mac-address.ts";
import { isMoneyOutOfRange, parseMoney, readMoney } from "./money.ts";
import { isCidrOfHost, parseCidr, parseInet } from "./network.ts";
import { compareDecimals, floatParser, integerParser, parseDecimal, parseOid, readInteger } from "./numbers.ts";
import { trimSpace, trimTrailingBlanks } from "./space.ts";

/** Values of one kind, brought to a form whose equality (of map keys) is PostgreSQL's; `compare` orders them. */
export type Comparable = bigint | number | string | boolean;

/** How one PostgreSQL type is read from a filter and from a record, and compared. */
export interface ComparableType {
  /** As PostgreSQL's input errors name the type. */
  readonly label: string;
  /** As PostgreSQL prints the type's name. */
  readonly printed: string;
  /** `text`: patterns can be tried on it. */
  readonly kind: "text" | "boolean" | "other";
  /** From a filter's text; `undefined` when it is not of the type. */
  parse(text: string): Comparable | undefined;
  /** From a record's text, which differs from PostgreSQL's own for some types. */
  read(text: string): Comparable | undefined;
  /** As `read`, straight from the bytes of a record, which saves making the text; `undefined` when the text has to be read. */
  readBytes?(json: Uint8Array, start: number, end: number): Comparable | undefined;
  compare(a: Comparable, b: Comparable): number;
  /** How PostgreSQL refuses a text: SQLSTATE and message. */
  refusal(text: string): string;
}

const natural = (a: Comparable, b: Comparable): number => (a < b ? -1 : a > b ? 1 : 0);

const invalidSyntax =
  (label: string, sqlState = "22P02 (invalid_text_representation)") =>
  (text: string): string =>
    `${sqlState} invalid input syntax for type ${label}: "${text}"`;

const outOfRange =
  (label: string) =>
  (text: string): string =>
    `22003 (numeric_value_out_of_range) value "${text}" is out of range for type ${label}`;

type Shape = Partial<ComparableType> & Pick<ComparableType, "label" | "parse">;

const makeType = (shape: Shape): ComparableType => ({
  kind: "other",
  printed: shape.label,
  read: shape.parse,
  compare: natural,
  refusal: invalidSyntax(shape.label),
  ...shape,
});

const integerType = (label: string, bits: number): ComparableType =>
  makeType({
    label,
    parse: integerParser(bits),
    readBytes: readInteger,
    refusal: (text) => (/^[+-]?\d+$/.test(trimSpace(text)) ? outOfRange(label)(text) : invalidSyntax(label)(text)),
  });

const floatType = (label: string, parse: (text: string) => number | undefined): ComparableType =>
  makeType({
    label,
    parse,
    // NaN is equal to itself and greater than all others.
    compare: (a, b) => (Number.isNaN(a) ? Number(!Number.isNaN(b)) : Number.isNaN(b) ? -1 : natural(a, b)),
    refusal: (text) =>
      /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(trimSpace(text).slice(0, 100))
        ? `22003 (numeric_value_out_of_range) "${trimSpace(text)}" is out of range for type ${label}`
        : invalidSyntax(label)(text),
  });

/** The spellings of the manual, "Boolean Type", with unique prefixes. */
function parseBool(text: string): boolean | undefined {
  const word = trimSpace(text).toLowerCase();
  if (word === "" || word.length > 5) return undefined;
  if (word === "1" || word === "on" || "true".startsWith(word) || "yes".startsWith(word)) return true;
  const isFalse =
    word === "0" || (word.length > 1 && "off".startsWith(word)) || "false".startsWith(word) || "no".startsWith(word);
  return isFalse ? false : undefined;
}

/** By code point, as collation "C" does: UTF-16 order differs from it beyond the basic plane. */
function compareText(a: Comparable, b: Comparable): number {
  const [left, right] = [String(a), String(b)];
  const length = Math.min(left.length, right.length);
  for (let i = 0; i < length; i++) {
    if (left.charCodeAt(i) === right.charCodeAt(i)) continue;
    // A surrogate's second half differs alone when the first halves are equal, and then orders as the code points do.
    const [x, y] = [left.codePointAt(i) ?? 0, right.codePointAt(i) ?? 0];
    return x - y;
  }
  return left.length - right.length;
}

const textType = (label: string, parse = (text: string): string => text): ComparableType =>
  makeType({ label, kind: "text", parse, compare: compareText });

function parseUuid(text: string): string | undefined {
  const bare = text.toLowerCase().replace(/^\{(.*)\}$/, "$1");
  return /^[0-9a-f]{4}(-?[0-9a-f]{4}){7}$/.test(bare) ? bare.replaceAll("-", "") : undefined;
}

/** Longer texts are no moments; expressions below need not be quick on them. */
const momentLimit = 100;

/** What is written as a date or a time, but is none: the 30th of February. */
const looksLikeMoment = /^\s*(\d+-\d+-\d+([ T]+\d+:[\d:.]+ *([+-][\d:]+|Z)?)?( +(BC|AD))?|\d+:[\d:.]+)\s*$/i;

const momentType = (
  label: string,
  parse: (text: string) => bigint | undefined,
  printed: string = label,
): ComparableType =>
  makeType({
    label,
    printed,
    parse(text) {
      const moment = text.length > momentLimit ? undefined : parse(text);
      if (moment === undefined) return undefined;
      const number = Number(moment);
      return Number.isSafeInteger(number) ? number : moment; // cheaper, and one form for equal values
    },
    refusal: (text) =>
      text.length <= momentLimit && looksLikeMoment.test(text)
        ? `22008 (datetime_field_overflow) date/time field value out of range: "${text}"`
        : invalidSyntax(label, "22007 (invalid_datetime_format)")(text),
  });

const jsonbType = (label: string): ComparableType =>
  makeType({ label, parse: parseJsonb, compare: compareJson, refusal: invalidJson });

function invalidJson(): string {
  return "22P02 (invalid_text_representation) invalid input syntax for type json";
}

const types: Readonly<Record<string, ComparableType>> = {
  int2: integerType("smallint", 16),
  int4: integerType("integer", 32),
  int8: integerType("bigint", 64),
  oid: makeType({ label: "oid", parse: parseOid }),
  numeric: makeType({ label: "numeric", parse: parseDecimal, compare: compareDecimals }),
  float4: floatType("real", floatParser({ isSingle: true })),
  float8: floatType("double precision", floatParser({ isSingle: false })),
  bool: makeType({ label: "boolean", kind: "boolean", parse: parseBool }),
  text: textType("text"),
  varchar: textType("character varying"),
  name: textType("name"),
  /** Trailing blanks mean nothing in char(n). */
  bpchar: textType("character", trimTrailingBlanks),
  bytea: makeType({
    label: "bytea",
    parse: parseBytea,
    read: (text) => text,
    refusal: () => "22P02 (invalid_text_representation) invalid input syntax for type bytea",
  }),
  uuid: makeType({ label: "uuid", parse: parseUuid }),
  json: jsonbType("json"),
  jsonb: jsonbType("jsonb"),
  date: momentType("date", parseDate),
  time: momentType("time", parseTime, "time without time zone"),
  timetz: makeType({
    label: "time with time zone",
    parse: (text) => (text.length > momentLimit ? undefined : parseTimetz(text)),
    refusal: invalidSyntax("time with time zone", "22007 (invalid_datetime_format)"),
  }),
  timestamp: momentType(
    "timestamp",
    (text) => parseTimestamp(text, { withZone: false }),
    "timestamp without time zone",
  ),
  timestamptz: momentType("timestamp with time zone", (text) => parseTimestamp(text, { withZone: true })),
  interval: momentType("interval", parseInterval),
  inet: makeType({ label: "inet", parse: parseInet }),
  cidr: makeType({
    label: "cidr",
    parse: parseCidr,
    refusal: (text) =>
      isCidrOfHost(text)
        ? `22P02 (invalid_text_representation) invalid cidr value: "${text}"`
        : invalidSyntax("cidr")(text),
  }),
  macaddr: makeType({
    label: "macaddr",
    parse: parseMacaddr,
    refusal: (text) =>
      hasTooLargeOctet(text)
        ? `22003 (numeric_value_out_of_range) invalid octet value in "macaddr" value: "${text}"`
        : invalidSyntax("macaddr")(text),
  }),
  macaddr8: makeType({ label: "macaddr8", parse: parseMacaddr8 }),
  money: makeType({
    label: "money",
    parse: parseMoney,
    read: readMoney,
    refusal: (text) => (isMoneyOutOfRange(text) ? outOfRange("money")(text) : invalidSyntax("money")(text)),
  }),
};

/** An enum by its labels. A filter's value must be one of them; a record may have a younger one. */
export const enumType = (label: string, labels: readonly string[]): ComparableType =>
  makeType({
    label,
    parse: (text) => (labels.includes(text) ? text : undefined),
    read: (text) => text,
    compare: compareText,
    refusal: (text) => `22P02 (invalid_text_representation) invalid input value for enum ${label}: "${text}"`,
  });

/**
 * An enum in its order (manual, "Enumerated Types"): its values are their labels' places. A label that is younger than the
 * list has none: it is unknown.
 */
export function orderedEnumType(label: string, labels: readonly string[]): ComparableType {
  const places = new Map(labels.map((one, place) => [one, place]));
  const placeOf = (text: string): number | undefined => places.get(text);
  return { ...enumType(label, labels), parse: placeOf, read: placeOf, compare: natural };
}

/** `->>` of JSON gives text. */
export const jsonTextType = textType("text");
/** `->` of JSON is jsonb. */
export const jsonValueType = jsonbType("jsonb");

const otherLabels: Readonly<Record<string, string>> = { bit: "bit", varbit: "bit varying", char: '"char"' };
const others = new Map<string, ComparableType>();
const othersLimit = 1_000;

/** How values of a type (pg_type.typname) compare; by their text when the type is none of the known ones. */
export function comparableType(typeName: string): ComparableType {
  const known = Object.hasOwn(types, typeName) ? types[typeName] : others.get(typeName);
  if (known !== undefined) return known;
  const made = typeName.startsWith("_")
    ? arrayType(comparableType(typeName.slice(1)))
    : makeType({ label: otherLabels[typeName] ?? typeName, parse: (text) => text, compare: compareText });
  if (others.size >= othersLimit) others.clear();
  others.set(typeName, made);
  return made;
}
