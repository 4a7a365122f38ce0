// Dates and times as numbers of days or microseconds, from ISO 8601 and from PostgreSQL's own output ("Date/Time Types").

const microsPerDay = 86_400_000_000n;
/** Beyond every finite value, so that `infinity` orders as PostgreSQL orders it. */
const infinity = 1n << 70n;

const infinities: Readonly<Record<string, bigint>> = { infinity, "-infinity": -infinity };
const parseInfinity = (text: string): bigint | undefined => infinities[text.trim().toLowerCase()];

/** Days since 1970-01-01 in the proleptic Gregorian calendar; year 0 is 1 BC. */
function daysOf(year: bigint, month: bigint, day: bigint): bigint {
  const shifted = month <= 2n ? year - 1n : year;
  const era = (shifted >= 0n ? shifted : shifted - 399n) / 400n;
  const yearOfEra = shifted - era * 400n;
  const dayOfYear = (153n * (month + (month > 2n ? -3n : 9n)) + 2n) / 5n + day - 1n;
  const dayOfEra = yearOfEra * 365n + yearOfEra / 4n - yearOfEra / 100n + dayOfYear;
  return era * 146_097n + dayOfEra - 719_468n;
}

function parseDays(text: string, isBc: boolean): bigint | undefined {
  const match = /^(\d{4,7})-(\d{1,2})-(\d{1,2})$/.exec(text);
  if (match === null) return undefined;
  const [year, month, day] = [BigInt(match[1] ?? 0), BigInt(match[2] ?? 0), BigInt(match[3] ?? 0)];
  if (month < 1n || month > 12n || day < 1n || day > 31n) return undefined;
  return daysOf(isBc ? 1n - year : year, month, day);
}

const stripEra = (text: string): { rest: string; isBc: boolean } => {
  const rest = text.trim().replace(/\s+(BC|AD)$/i, "");
  return { rest, isBc: /\sBC$/i.test(text.trim()) };
};

export function parseDate(text: string): bigint | undefined {
  const { rest, isBc } = stripEra(text);
  return parseInfinity(rest) ?? parseDays(rest, isBc);
}

/** Microseconds since midnight. */
export function parseTime(text: string): bigint | undefined {
  const match = /^\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?\s*$/.exec(text);
  if (match === null) return undefined;
  const [hours, minutes, seconds] = [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)];
  if (hours > 24 || minutes > 59 || seconds > 60) return undefined;
  return BigInt((hours * 60 + minutes) * 60 + seconds) * 1_000_000n + BigInt((match[4] ?? "").padEnd(6, "0"));
}

/** Microseconds since 1970; a zone in a timestamp without one is ignored, as PostgreSQL ignores it. No zone means UTC. */
export function parseTimestamp(text: string, { withZone }: { readonly withZone: boolean }): bigint | undefined {
  const { rest, isBc } = stripEra(text);
  const infinite = parseInfinity(rest);
  if (infinite !== undefined) return infinite;
  const match = /^(\d+-\d+-\d+)(?:[T ]\s*([\d:.]+)\s*(Z|[+-]\d{1,2}(?::?\d{2}(?::?\d{2})?)?)?)?$/i.exec(rest);
  if (match === null) return undefined;
  const days = parseDays(match[1] ?? "", isBc);
  const time = match[2] === undefined ? 0n : parseTime(match[2]);
  if (days === undefined || time === undefined) return undefined;
  return days * microsPerDay + time - (withZone ? offsetMicros(match[3]) : 0n);
}

function offsetMicros(zone: string | undefined): bigint {
  if (zone === undefined || /^z$/i.test(zone)) return 0n;
  const digits = zone.slice(1).replaceAll(":", "").padEnd(6, "0");
  const hours = zone.slice(1).split(":")[0]?.length === 1 ? `0${digits}`.slice(0, 6) : digits;
  const seconds = Number(hours.slice(0, 2)) * 3600 + Number(hours.slice(2, 4)) * 60 + Number(hours.slice(4, 6));
  return BigInt(zone.startsWith("-") ? -seconds : seconds) * 1_000_000n;
}
