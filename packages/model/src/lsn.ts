declare const lsnBrand: unique symbol;

/** A WAL location: a 64-bit byte address. `bigint` in memory, PostgreSQL's text form in JSON and logs, never compared as text. */
export type Lsn = bigint & { readonly [lsnBrand]: true };

/** Before every real location; PostgreSQL's InvalidXLogRecPtr. */
export const zeroLsn = 0n as Lsn;

export const toLsn = (value: bigint): Lsn => BigInt.asUintN(64, value) as Lsn;

/** PostgreSQL's own text form, e.g. `16/B374D848` (manual: "pg_lsn Type"). */
export const formatLsn = (lsn: Lsn): string =>
  `${(lsn >> 32n).toString(16)}/${(lsn & 0xffff_ffffn).toString(16)}`.toUpperCase();

/** Reads PostgreSQL's text form; `undefined` when the text is not an LSN. */
export function parseLsn(text: string): Lsn | undefined {
  const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text);
  if (match === null) return undefined;
  return toLsn((BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`));
}

export const maxLsn = (a: Lsn, b: Lsn): Lsn => (a > b ? a : b);
