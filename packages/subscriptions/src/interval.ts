import { trimSpace } from "./space.ts";

const microsPerSecond = 1_000_000n;
const microsPerDay = 86_400n * microsPerSecond;
/** PostgreSQL compares intervals so, whatever the calendar says. */
const microsPerMonth = 30n * microsPerDay;

/** Beyond every finite interval; PostgreSQL 17 knows them. */
const infinite: Readonly<Record<string, bigint>> = { infinity: 1n << 100n, "-infinity": -(1n << 100n) };

const units: Readonly<Record<string, bigint>> = {
  microsecond: 1n,
  millisecond: 1000n,
  second: microsPerSecond,
  sec: microsPerSecond,
  s: microsPerSecond,
  minute: 60n * microsPerSecond,
  min: 60n * microsPerSecond,
  m: 60n * microsPerSecond,
  hour: 3_600n * microsPerSecond,
  h: 3_600n * microsPerSecond,
  day: microsPerDay,
  d: microsPerDay,
  week: 7n * microsPerDay,
  w: 7n * microsPerDay,
  month: microsPerMonth,
  mon: microsPerMonth,
  year: 12n * microsPerMonth,
  y: 12n * microsPerMonth,
  decade: 120n * microsPerMonth,
  century: 1200n * microsPerMonth,
};

/**
 * An interval's length in microseconds as PostgreSQL compares it: a month is 30 days, a day 24 hours. Takes what PostgreSQL
 * prints (`1 year 2 mons -3 days +04:05:06.7`) and its kin with a unit to each whole number (`90 minutes`, `2 weeks`), and
 * `P1Y2M3DT4H5M6.7S`; fractions of other units than seconds are not taken.
 */
export function parseInterval(text: string): bigint | undefined {
  const trimmed = trimSpace(text).toLowerCase();
  const known = infinite[trimmed];
  if (known !== undefined) return known;
  return trimmed.startsWith("p") ? parseIso(text.toLowerCase()) : parseUnits(trimmed);
}

function parseUnits(text: string): bigint | undefined {
  const tokens = text.matchAll(
    /([+-]?\d+)(\.\d{0,6})? *([a-z]+)(?![^ ])|([+-]?)(\d+):(\d{2})(?::(\d{2})(\.\d{0,6})?)?(?![^ ])|([^ ]+)/g,
  );
  let total: bigint | undefined;
  for (const [, amount, fraction, unit = "", sign, hours, minutes, seconds = "0", secondsFraction, unknown] of tokens) {
    if (unknown !== undefined) return undefined;
    let part: bigint | undefined;
    if (amount === undefined) {
      if (Number(minutes) > 59 || Number(seconds) > 59) return undefined;
      const whole = (BigInt(hours ?? 0) * 60n + BigInt(minutes ?? 0)) * 60n + BigInt(seconds);
      part = whole * microsPerSecond + fractionMicros(secondsFraction);
      if (sign === "-") part = -part;
    } else {
      part = amountOf(amount, fraction, units[unit] ?? units[unit.replace(/s$/, "")]);
    }
    if (part === undefined) return undefined;
    total = (total ?? 0n) + part;
  }
  return total;
}

/** ISO 8601 with designators; `m` is months before the `t`, minutes after it. */
function parseIso(text: string): bigint | undefined {
  const match =
    /^p(?:([+-]?\d+)y)?(?:([+-]?\d+)m)?(?:([+-]?\d+)w)?(?:([+-]?\d+)d)?(?:t(?:([+-]?\d+)h)?(?:([+-]?\d+)m)?(?:([+-]?\d+)(\.\d{1,6})?s)?)?$/.exec(
      text,
    );
  if (match === null || !/\d/.test(text) || text.endsWith("t")) return undefined;
  const names = ["year", "month", "week", "day", "hour", "minute"];
  const whole = names.reduce((sum, name, i) => sum + BigInt(match[i + 1] ?? 0) * (units[name] ?? 0n), 0n);
  return whole + (amountOf(match[7] ?? "0", match[8], microsPerSecond) ?? 0n);
}

function amountOf(amount: string, fraction: string | undefined, unit: bigint | undefined): bigint | undefined {
  if (unit === undefined || (fraction !== undefined && unit !== microsPerSecond)) return undefined;
  const whole = BigInt(amount) * unit;
  const rest = fractionMicros(fraction);
  return amount.startsWith("-") ? whole - rest : whole + rest;
}

const fractionMicros = (fraction: string | undefined): bigint =>
  BigInt((fraction ?? "").replace(".", "").padEnd(6, "0"));
