// macaddr and macaddr8 ("Network Address Types") as hexadecimal digits, which order as PostgreSQL orders the addresses.

const space = String.raw`[ \t-\r]*`;
const digits = `${space}([0-9a-f]+)`;
/** As C's `%2x` reads them: two digits where there are two. */
const pair = `${space}([0-9a-f]{2}|[0-9a-f](?![0-9a-f]))`;

const layout = (octet: string, separators: readonly string[]): RegExp =>
  new RegExp(`^${separators.map((separator) => octet + separator).join("")}${octet}${space}$`, "i");

/** In PostgreSQL's order; no text has two of them. */
const layouts: readonly RegExp[] = [
  layout(digits, [":", ":", ":", ":", ":"]),
  layout(digits, ["-", "-", "-", "-", "-"]),
  layout(pair, ["", "", ":", "", ""]),
  layout(pair, ["", "", "-", "", ""]),
  layout(pair, ["", String.raw`\.`, "", String.raw`\.`, ""]),
  layout(pair, ["", "-", "", "-", ""]),
  layout(pair, ["", "", "", "", ""]),
];

function readOctets(text: string): number[] | undefined {
  for (const one of layouts) {
    const match = one.exec(text);
    if (match !== null) return match.slice(1).map((octet) => Number.parseInt(octet, 16));
  }
  return undefined;
}

const isOctet = (value: number): boolean => value <= 0xff;

/** Six octets; where each has a separator, one digit is enough for it. */
export function parseMacaddr(text: string): string | undefined {
  const octets = readOctets(text);
  if (octets?.every(isOctet) !== true) return undefined;
  return octets.map((octet) => octet.toString(16).padStart(2, "0")).join("");
}

/** It is written as a macaddr, with an octet beyond `ff`. */
export const hasTooLargeOctet = (text: string): boolean => readOctets(text)?.every(isOctet) === false;

/** Eight octets of two digits; of six, `fffe` is put into the middle. Separators may stand behind any octet, but are of one kind. */
export function parseMacaddr8(text: string): string | undefined {
  const [, octets = ""] = /^[ \t-\r]*((?:[0-9a-f]{2}[:.-]?){6,8})[ \t-\r]*$/i.exec(text) ?? [];
  const hex = octets.toLowerCase().replaceAll(/[:.-]/g, "");
  if (new Set(octets.match(/[:.-]/g)).size > 1) return undefined;
  if (hex.length === 12) return `${hex.slice(0, 6)}fffe${hex.slice(6)}`;
  return hex.length === 16 ? hex : undefined;
}
