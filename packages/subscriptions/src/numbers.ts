import type { Comparable } from "./comparable.ts";
import { trimSpace } from "./space.ts";

// PostgreSQL's numbers as comparable values, from a filter's text or a record's.

/** Longer numbers are refused in filters of every type but numeric's own records. */
const lengthLimit = 1_000;

/**
 * Integers of so many bits. Those a `number` holds exactly are numbers, the others bigints: equal values have one form, and
 * JavaScript compares the two kinds exactly.
 */
export function integerParser(bits: number): (text: string) => number | bigint | undefined {
  const limit = 2 ** (bits - 1);
  return (text) => {
    const isShort = text.length <= 15;
    const trimmed = isShort && isDigits(text) ? text : trimSpace(text);
    if (trimmed.length > lengthLimit || !/^[+-]?\d+$/.test(trimmed)) return undefined;
    if (trimmed.length <= 15) {
      const number = Number(trimmed) + 0; // + 0: no negative zero
      return number >= -limit && number < limit ? number : undefined;
    }
    const value = BigInt(trimmed.replace(/^\+/, ""));
    if (BigInt.asIntN(bits, value) !== value) return undefined;
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  };
}

/** An integer as records have it, when it is short. */
export function readInteger(json: Uint8Array, start: number, end: number): number | undefined {
  const isNegative = json[start] === 0x2d;
  const first = isNegative ? start + 1 : start;
  if (end - first > 15 || end === first) return undefined;
  let value = 0;
  for (let at = first; at < end; at++) {
    const digit = (json[at] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) return undefined;
    value = value * 10 + digit;
  }
  return isNegative && value !== 0 ? -value : value;
}

function isDigits(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x30 || code > 0x39) return false;
  }
  return text.length > 0;
}

/** PostgreSQL also takes negative, octal and hexadecimal ones, and means something else by them: nobody filters by those. */
export function parseOid(text: string): number | undefined {
  const trimmed = trimSpace(text);
  if (!/^(0|[1-9]\d{0,9})$/.test(trimmed)) return undefined;
  const value = Number(trimmed);
  return value < 2 ** 32 ? value : undefined;
}

const specialNumbers: Readonly<Record<string, string>> = {
  nan: "NaN",
  infinity: "Infinity",
  inf: "Infinity",
  "+infinity": "Infinity",
  "+inf": "Infinity",
  "-infinity": "-Infinity",
  "-inf": "-Infinity",
};

/**
 * numeric, exactly: digits are kept, never a floating-point number. The canonical text `-123e-2`, without zeros at the ends
 * of its digits, makes equal values equal keys.
 */
export function parseDecimal(text: string): string | undefined {
  const trimmed = trimSpace(text);
  const special = specialNumbers[trimmed.slice(0, 10).toLowerCase()];
  if (special !== undefined && trimmed.length <= 9) return special;
  const match = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,4}))?$/.exec(trimmed);
  if (match === null) return undefined;
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = match;
  const all = whole + fraction;
  if (all === "") return undefined;
  let start = 0;
  let end = all.length;
  while (start < end && all[start] === "0") start++;
  while (end > start && all[end - 1] === "0") end--;
  if (start === end) return "0";
  const scale = Number(exponent) - fraction.length + (all.length - end);
  return `${sign === "-" ? "-" : ""}${all.slice(start, end)}e${scale}`;
}

/** Both in canonical form. NaN is greater than everything, itself aside. */
export function compareDecimals(a: Comparable, b: Comparable): number {
  if (a === b) return 0;
  const [left, right] = [rank(String(a)), rank(String(b))];
  if (left.sign !== right.sign) return left.sign - right.sign;
  const sizes = left.magnitude - right.magnitude;
  const order = sizes === 0 ? (left.digits < right.digits ? -1 : 1) : sizes;
  return left.sign < 0 ? -order : order;
}

/** Digits without zeros at either end order as text, once the place of the first one is the same. */
function rank(canonical: string): { sign: number; magnitude: number; digits: string } {
  switch (canonical) {
    case "NaN":
      return { sign: 3, magnitude: 0, digits: "" };
    case "Infinity":
      return { sign: 2, magnitude: 0, digits: "" };
    case "-Infinity":
      return { sign: -2, magnitude: 0, digits: "" };
    case "0":
      return { sign: 0, magnitude: 0, digits: "" };
    default: {
      const sign = canonical.startsWith("-") ? -1 : 1;
      const e = canonical.indexOf("e");
      const digits = canonical.slice(sign < 0 ? 1 : 0, e);
      return { sign, magnitude: digits.length + Number(canonical.slice(e + 1)), digits };
    }
  }
}

export const floatParser =
  ({ isSingle }: { readonly isSingle: boolean }) =>
  (text: string): number | undefined => {
    const trimmed = trimSpace(text);
    if (trimmed.length > lengthLimit) return undefined;
    const special = specialNumbers[trimmed.toLowerCase()];
    if (special !== undefined) return Number(special);
    const match = /^[+-]?(\d+(?:\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.exec(trimmed);
    if (match === null) return undefined;
    const value = isSingle ? Math.fround(Number(trimmed)) : Number(trimmed);
    // Out of range, as PostgreSQL says: it became infinite, or nothing of it is left.
    const isLost = value === 0 && /[1-9]/.test(match[1] ?? "");
    return Number.isFinite(value) && !isLost ? value + 0 : undefined; // + 0: no negative zero
  };
