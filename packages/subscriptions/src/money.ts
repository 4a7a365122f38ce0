// money ("Monetary Types") as a number of cents, in the locales C and en_US: another lc_monetary has other symbols.

/** An amount of this many cents is too large, aside from a negative one of exactly as many. */
const limit = 1n << 63n;
const limitDigits = 19;

interface Amount {
  /** `undefined`: far beyond the limit. */
  readonly cents: bigint | undefined;
  readonly isNegative: boolean;
  /** What stands behind the digits. */
  readonly tail: string;
}

/** One sign and up to two currency symbols before the digits, commas anywhere among them; of the digits behind the cents, the first rounds. */
const pattern =
  /^[ \t-\r]*(?:\$[ \t-\r]*)?(?:([-+(])[ \t-\r]*)?(?:\$[ \t-\r]*)?([\d,]*)(?:\.(,*(?:\d,*){0,2}))?(\d*)(.*)$/s;

function readAmount(text: string): Amount {
  const [, sign = "+", whole = "", fraction = "", more = "", tail = ""] = pattern.exec(text) ?? [];
  const cents = (whole + fraction.replaceAll(",", "").padEnd(2, "0")).replaceAll(",", "").replace(/^0+/, "");
  return {
    cents: cents.length > limitDigits ? undefined : BigInt(cents) + (more >= "5" ? 1n : 0n),
    isNegative: sign !== "+" || tail.includes("-"),
    tail,
  };
}

/** Signs, symbols and closing parentheses may also follow, in any number; a parenthesis needs no partner. */
const isTail = (text: string): boolean => /^[ \t-\r)$+-]*$/.test(text);

const isTooLarge = ({ cents, isNegative }: Amount): boolean =>
  cents === undefined || cents > limit || (cents === limit && !isNegative);

/** From a filter's text: `$1,234.50`, `-$5`, `(5)`, `12.3`; nothing at all is zero. */
export function parseMoney(text: string): number | bigint | undefined {
  const amount = readAmount(text);
  if (amount.cents === undefined || isTooLarge(amount) || !isTail(amount.tail)) return undefined;
  return shortest(amount.isNegative ? -amount.cents : amount.cents);
}

/** PostgreSQL says so of a number that is too large, whatever follows it; of the largest negative one, it waits for a sign. */
export function isMoneyOutOfRange(text: string): boolean {
  const amount = readAmount(text);
  const isLargestNegative = amount.cents === limit;
  return isTooLarge(amount) && (!isLargestNegative || isTail(amount.tail));
}

/**
 * From a record: only what PostgreSQL writes in these locales. Another one's text may look like an amount and be another
 * (`$ 5,50` in es_AR).
 */
export function readMoney(text: string): number | bigint | undefined {
  const match = /^(-?)\$(\d{1,3}(?:,\d{3})*)\.(\d\d)$/.exec(text);
  if (match === null) return undefined;
  const [, sign = "", whole = "", fraction = ""] = match;
  return shortest(BigInt(sign + whole.replaceAll(",", "") + fraction));
}

/** One form for equal values: a number where it is exact. */
function shortest(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
