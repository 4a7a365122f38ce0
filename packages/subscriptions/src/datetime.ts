import { trimSpace } from "./space.ts";

// Dates and times as numbers of days or microseconds, from ISO 8601 and from PostgreSQL's own output ("Date/Time Types").

const microsPerDay = 86_400_000_000n;
/** Beyond every finite value, so that `infinity` orders as PostgreSQL orders it. */
const infinity = 1n << 70n;

const infinities: Readonly<Record<string, bigint>> = { infinity, "-infinity": -infinity };
const parseInfinity = (text: string): bigint | undefined => infinities[text.toLowerCase()];

/** Days since 1970-01-01 in the proleptic Gregorian calendar; year 0 is 1 BC. */
function daysOf(year: bigint, month: bigint, day: bigint): bigint {
  const shifted = month <= 2n ? year - 1n : year;
  const era = (shifted >= 0n ? shifted : shifted - 399n) / 400n;
  const yearOfEra = shifted - era * 400n;
  const dayOfYear = (153n * (month + (month > 2n ? -3n : 9n)) + 2n) / 5n + day - 1n;
  const dayOfEra = yearOfEra * 365n + yearOfEra / 4n - yearOfEra / 100n + dayOfYear;
  return era * 146_097n + dayOfEra - 719_468n;
}

/** The first day of PostgreSQL's calendar, 4714-11-24 BC. */
const firstDay = daysOf(-4713n, 11n, 24n);
/** The first ones after the last date and the last timestamp. */
const endOfDates = daysOf(5_874_898n, 1n, 1n);
const endOfTimestamps = daysOf(294_277n, 1n, 1n) * microsPerDay;

function parseDays(text: string, isBc: boolean): bigint | undefined {
  const match = /^(\d{4,7})-(\d{1,2})-(\d{1,2})$/.exec(text);
  if (match === null) return undefined;
  const [yearInEra, month, day] = [BigInt(match[1] ?? 0), BigInt(match[2] ?? 0), BigInt(match[3] ?? 0)];
  if (yearInEra === 0n || month < 1n || month > 12n || day < 1n) return undefined;
  const year = isBc ? 1n - yearInEra : yearInEra;
  const nextMonth = month === 12n ? daysOf(year + 1n, 1n, 1n) : daysOf(year, month + 1n, 1n);
  const days = daysOf(year, month, day);
  return days < nextMonth && days >= firstDay && days < endOfDates ? days : undefined;
}

const stripEra = (text: string): { rest: string; isBc: boolean } => ({
  rest: text.replace(/ +(BC|AD)$/i, ""),
  isBc: / BC$/i.test(text),
});

export function parseDate(text: string): bigint | undefined {
  const trimmed = trimSpace(text);
  const { rest, isBc } = stripEra(trimmed);
  return parseInfinity(trimmed) ?? parseDays(rest, isBc);
}

/** Microseconds since midnight. */
export function parseTime(text: string): bigint | undefined {
  const match = /^(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?$/.exec(trimSpace(text));
  if (match === null) return undefined;
  const [hours, minutes, seconds] = [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)];
  if (minutes > 59 || seconds > 60) return undefined;
  const micros = BigInt((hours * 60 + minutes) * 60 + seconds) * 1_000_000n + BigInt((match[4] ?? "").padEnd(6, "0"));
  return micros <= microsPerDay ? micros : undefined; // 24:00 is a time
}

/** Microseconds since 1970; a zone in a timestamp without one is ignored, as PostgreSQL ignores it. No zone means UTC. */
export function parseTimestamp(text: string, { withZone }: { readonly withZone: boolean }): bigint | undefined {
  const trimmed = trimSpace(text);
  const infinite = parseInfinity(trimmed);
  if (infinite !== undefined) return infinite;
  const { rest, isBc } = stripEra(trimmed);
  const match = /^(\d+-\d+-\d+)(?:(?:T| +)([\d:.]+) *(Z|[+-][\d:]+)?)?$/i.exec(rest);
  if (match === null) return undefined;
  const days = parseDays(match[1] ?? "", isBc);
  const time = match[2] === undefined ? 0n : parseTime(match[2]);
  const offset = offsetMicros(match[3]);
  if (days === undefined || time === undefined || offset === undefined) return undefined;
  const micros = days * microsPerDay + time - (withZone ? offset : 0n);
  return micros >= firstDay * microsPerDay && micros < endOfTimestamps ? micros : undefined;
}

/** `Z`, `+02`, `+0230`, `+02:30`, `+02:30:15`, also with one digit for the hours. */
function offsetMicros(zone: string | undefined): bigint | undefined {
  if (zone === undefined || /^z$/i.test(zone)) return 0n;
  const match = /^[+-](\d{1,2})(?:(\d{2})|:(\d{2})(?::(\d{2}))?)?$/.exec(zone);
  if (match === null) return undefined;
  const [hours, minutes, seconds] = [Number(match[1]), Number(match[2] ?? match[3] ?? 0), Number(match[4] ?? 0)];
  if (hours > 15 || minutes > 59 || seconds > 59) return undefined;
  const total = (hours * 60 + minutes) * 60 + seconds;
  return BigInt(zone.startsWith("-") ? -total : total) * 1_000_000n;
}

/**
 * A time with its zone: PostgreSQL orders by the moment in UTC, and equal moments by the zone. Digits of one length make texts
 * that order the same.
 */
export function parseTimetz(text: string): string | undefined {
  const match = /^([\d:.]+) *(Z|[+-][\d:]+)$/i.exec(trimSpace(text));
  const time = match === null ? undefined : parseTime(match[1] ?? "");
  const offset = match === null ? undefined : offsetMicros(match[2]);
  if (time === undefined || offset === undefined) return undefined;
  const digits = (micros: bigint): string => String(micros + microsPerDay).padStart(13, "0");
  return `${digits(time - offset)} ${digits(-offset)}`;
}
