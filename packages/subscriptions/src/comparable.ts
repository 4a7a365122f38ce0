import { parseDate, parseTime, parseTimestamp } from "./datetime.ts";
import { trimSpace } from "./space.ts";

/** Values of one kind, brought to a form that `<` and `===` order as PostgreSQL does. */
export type Comparable = bigint | number | string | boolean;

/** How one PostgreSQL type is read from a filter and from a record, and compared. */
export interface ComparableType {
  /** As error messages name the type. */
  readonly label: string;
  /** From a filter's text, or a record's; `undefined` when it is not of the type. */
  parse(text: string): Comparable | undefined;
  compare(a: Comparable, b: Comparable): number;
}

const natural = (a: Comparable, b: Comparable): number => (a < b ? -1 : a > b ? 1 : 0);

const integerType = (label: string, bits: number): ComparableType => ({
  label,
  parse(text) {
    const trimmed = trimSpace(text);
    if (!/^[+-]?\d+$/.test(trimmed)) return undefined;
    const value = BigInt(trimmed.replace(/^\+/, ""));
    return BigInt.asIntN(bits, value) === value ? value : undefined;
  },
  compare: natural,
});

/** PostgreSQL also takes negative, octal and hexadecimal ones, and means something else by them: nobody filters by those. */
const oidType: ComparableType = {
  label: "oid",
  parse(text) {
    const trimmed = trimSpace(text);
    if (!/^(0|[1-9]\d{0,9})$/.test(trimmed)) return undefined;
    const value = BigInt(trimmed);
    return BigInt.asUintN(32, value) === value ? value : undefined;
  },
  compare: natural,
};

/** Exact: digits are compared, never floating-point numbers. Canonical text makes equal values equal keys. */
const numericType: ComparableType = {
  label: "numeric",
  parse(text) {
    const match = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,4}))?$/.exec(trimSpace(text));
    if (match === null || `${match[2] ?? ""}${match[3] ?? ""}` === "") return undefined;
    const [, sign = "", whole = "", fraction = "", exponentText = "0"] = match;
    let exponent = Number(exponentText) - fraction.length;
    let digits = `${whole}${fraction}`.replace(/^0+/, "");
    const zeros = /0*$/.exec(digits)?.[0].length ?? 0;
    digits = digits.slice(0, digits.length - zeros);
    exponent += zeros;
    return digits === "" ? "0" : `${sign === "-" ? "-" : ""}${digits}e${exponent}`;
  },
  compare: (a, b) => compareDecimals(String(a), String(b)),
};

/** Both in the canonical form `-123e-2`. */
function compareDecimals(a: string, b: string): number {
  const [aDigits = "0", aExponent = "0"] = a.split("e");
  const [bDigits = "0", bExponent = "0"] = b.split("e");
  const shift = Math.min(Number(aExponent), Number(bExponent));
  const scale = (digits: string, exponent: string): bigint => BigInt(digits) * 10n ** BigInt(Number(exponent) - shift);
  return natural(scale(aDigits, aExponent), scale(bDigits, bExponent));
}

const floatType = (label: string): ComparableType => ({
  label,
  parse(text) {
    const trimmed = trimSpace(text);
    if (/^[+-]?inf(inity)?$/i.test(trimmed)) return trimmed.startsWith("-") ? -Infinity : Infinity;
    const match = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.exec(trimmed);
    if (match === null) return undefined;
    const value = label === "real" ? Math.fround(Number(trimmed)) : Number(trimmed);
    // Out of range, as PostgreSQL says: it became infinite, or nothing of it is left.
    const isLost = value === 0 && /[1-9]/.test(match[1] ?? "");
    return Number.isFinite(value) && !isLost ? value + 0 : undefined; // + 0: no negative zero
  },
  compare: natural,
});

/** The spellings of the manual, "Boolean Type", with unique prefixes. */
const boolType: ComparableType = {
  label: "boolean",
  parse(text) {
    const word = trimSpace(text).toLowerCase();
    if (word === "") return undefined;
    if (word === "1" || word === "on" || "true".startsWith(word) || "yes".startsWith(word)) return true;
    if (
      word === "0" ||
      (word.length > 1 && "off".startsWith(word)) ||
      "false".startsWith(word) ||
      "no".startsWith(word)
    )
      return false;
    return undefined;
  },
  compare: natural,
};

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

const textType: ComparableType = { label: "text", parse: (text) => text, compare: compareText };
/** Trailing blanks mean nothing in char(n). */
const bpcharType: ComparableType = {
  label: "character",
  parse: (text) => text.replace(/ +$/, ""),
  compare: compareText,
};
const byteaType: ComparableType = {
  label: "bytea",
  parse: (text) => (/^(\\x)?([0-9a-f]{2})*$/i.test(text) ? text.replace(/^\\x/, "").toLowerCase() : undefined),
  compare: compareText,
};

const uuidType: ComparableType = {
  label: "uuid",
  parse(text) {
    const bare = text.toLowerCase().replace(/^\{(.*)\}$/, "$1");
    return /^[0-9a-f]{4}(-?[0-9a-f]{4}){7}$/.test(bare) ? bare.replaceAll("-", "") : undefined;
  },
  compare: natural,
};

const timeType = (label: string, parse: ComparableType["parse"]): ComparableType => ({
  label,
  parse,
  compare: natural,
});

const types: Readonly<Record<string, ComparableType>> = {
  int2: integerType("smallint", 16),
  int4: integerType("integer", 32),
  int8: integerType("bigint", 64),
  oid: oidType,
  numeric: numericType,
  float4: floatType("real"),
  float8: floatType("double precision"),
  bool: boolType,
  bpchar: bpcharType,
  bytea: byteaType,
  uuid: uuidType,
  date: timeType("date", parseDate),
  time: timeType("time without time zone", parseTime),
  timestamp: timeType("timestamp without time zone", (text) => parseTimestamp(text, { withZone: false })),
  timestamptz: timeType("timestamp with time zone", (text) => parseTimestamp(text, { withZone: true })),
};

/** How values of a type (pg_type.typname) compare; by their text when the type is none of the known ones. */
export const comparableType = (typeName: string): ComparableType => types[typeName] ?? textType;
