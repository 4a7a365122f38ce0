/**
 * With these values are written as text that is the same whatever the role's or database's settings are; the types on the
 * wire rely on it (pgoutput, value-writers).
 */
const valueSettings = {
  DateStyle: "ISO,YMD",
  IntervalStyle: "postgres",
  TimeZone: "UTC",
  bytea_output: "hex",
  extra_float_digits: "1",
} as const;

/** For a whole connection, as `options` of its start. */
export const sessionOptions = Object.entries(valueSettings)
  .map(([name, value]) => `-c ${name}=${value}`)
  .join(" ");

/** For one transaction. */
export const localSettings = Object.entries(valueSettings)
  .map(([name, value]) => `SET LOCAL ${name} = '${value}'`)
  .join("; ");
