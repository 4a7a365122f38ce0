// inet and cidr ("Network Address Types"), as PostgreSQL's inet_net_pton.c reads them, which is not the same for both.

/** An address and how many of its bits are the network's. */
interface Network {
  /** 4 of IPv4, 16 of IPv6. */
  readonly bytes: readonly number[];
  readonly bits: number;
}

/** inet as a text that orders as PostgreSQL orders it. White space is not passed over. */
export function parseInet(text: string): string | undefined {
  const network = text.includes(":") ? parseIpv6(text) : parseInetIpv4(text);
  return network === undefined ? undefined : toKey(network);
}

/** As `parseInet`; abbreviated addresses are taken, bits to the right of the mask are not. */
export function parseCidr(text: string): string | undefined {
  const network = readCidr(text);
  return network === undefined || isHost(network) ? undefined : toKey(network);
}

/** It is written as a cidr, but has bits set to the right of its mask. */
export function isCidrOfHost(text: string): boolean {
  const network = readCidr(text);
  return network !== undefined && isHost(network);
}

const readCidr = (text: string): Network | undefined => (text.includes(":") ? parseIpv6(text) : parseCidrIpv4(text));

/**
 * Family, network, its bits, address. Networks order by the bits that both have, then by how many there are: with zeros put
 * after them, that is the order of their digits.
 */
function toKey(network: Network): string {
  const { bytes, bits } = network;
  return `${bytes.length === 4 ? 4 : 6}${toHex(networkOf(network))}${toHex([bits])}${toHex(bytes)}`;
}

const networkOf = ({ bytes, bits }: Network): number[] =>
  bytes.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, bits - 8 * i))));

const isHost = (network: Network): boolean => networkOf(network).some((byte, i) => byte !== network.bytes[i]);

const toHex = (bytes: readonly number[]): string => bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Four octets, or fewer where the mask does not reach beyond them; the last may have a dot behind it. */
function parseInetIpv4(text: string): Network | undefined {
  const [, dotted = "", width] = /^(\d+(?:\.\d+){0,3})\.?(?:\/(\d+))?$/.exec(text) ?? [];
  const octets = parseOctets(dotted);
  if (octets === undefined) return undefined;
  if (width === undefined) return octets.length === 4 ? { bytes: octets, bits: 32 } : undefined;
  const bits = Number(width);
  return bits > 32 || bits >= 8 * (octets.length + 1) ? undefined : { bytes: fill(octets), bits };
}

/** One to four octets, also as hexadecimal digits (`0x0a01`); without a mask the address says how wide it is. */
function parseCidrIpv4(text: string): Network | undefined {
  const [, hex, dotted = "", width] = /^(?:0x([0-9a-f]+)|(\d+(?:\.\d+){0,3}))(?:\/(\d+))?$/i.exec(text) ?? [];
  const octets = hex === undefined ? parseOctets(dotted) : parseHex(hex);
  if (octets === undefined) return undefined;
  const bits = width === undefined ? classBits(octets) : Number(width);
  return bits > 32 ? undefined : { bytes: fill(octets), bits };
}

const fill = (octets: readonly number[]): number[] => [0, 1, 2, 3].map((i) => octets[i] ?? 0);

function parseOctets(dotted: string): number[] | undefined {
  const octets = dotted === "" ? [] : dotted.split(".").map(Number);
  return octets.length > 0 && octets.every((octet) => octet <= 255) ? octets : undefined;
}

/** An odd last digit is an octet's first. */
function parseHex(digits: string): number[] | undefined {
  if (digits.length > 8) return undefined;
  return (digits.match(/..?/g) ?? []).map((pair) => Number.parseInt(pair.padEnd(2, "0"), 16));
}

/** Classes A to E of old, and no fewer than there are octets. */
function classBits(octets: readonly number[]): number {
  const first = octets[0] ?? 0;
  if (first >= 240) return 32;
  const least = first >= 224 ? 8 : first >= 192 ? 24 : first >= 128 ? 16 : 8;
  const bits = Math.max(least, 8 * octets.length);
  return bits === 8 && first === 224 ? 4 : bits;
}

/** A mask of IPv6 has no leading zeros; one of IPv4 may have. */
const widthPattern = /^(0|[1-9]\d{0,2})$/;

function parseIpv6(text: string): Network | undefined {
  const slash = text.indexOf("/");
  const width = slash === -1 ? "128" : text.slice(slash + 1);
  const bits = widthPattern.test(width) ? Number(width) : Infinity;
  const bytes = parseGroups(slash === -1 ? text : text.slice(0, slash), { hasWidth: slash !== -1 });
  return bytes === undefined || bits > 128 ? undefined : { bytes, bits };
}

/** Groups of hexadecimal digits, the last perhaps an IPv4 address; `::` once, for one group of zeros or more. */
function parseGroups(text: string, { hasWidth }: { readonly hasWidth: boolean }): number[] | undefined {
  if (text.startsWith(":") && !text.startsWith("::")) return undefined;
  const groups = (text.startsWith(":") ? text.slice(1) : text).split(":");
  const last = groups.pop() ?? "";
  // A colon at the end is a mistake to PostgreSQL only where no mask comes behind it.
  if (last === "" && groups.at(-1) !== "" && !hasWidth) return undefined;
  const bytes: number[] = [];
  let gap: number | undefined;
  for (const group of groups) {
    if (group === "") {
      if (gap !== undefined) return undefined;
      gap = bytes.length;
      continue;
    }
    if (!isGroup(group) || bytes.length > 14) return undefined;
    bytes.push(...groupBytes(group));
  }
  const end = last === "" ? [] : last.includes(".") ? parseTail(last, { hasWidth }) : isGroup(last) && groupBytes(last);
  if (end === undefined || end === false) return undefined;
  bytes.push(...end);
  if (gap === undefined) return bytes.length === 16 ? bytes : undefined;
  if (bytes.length >= 16) return undefined;
  bytes.splice(gap, 0, ...Array.from({ length: 16 - bytes.length }, () => 0));
  return bytes;
}

const isGroup = (text: string): boolean => /^[0-9a-f]{1,4}$/i.test(text);

function groupBytes(group: string): number[] {
  const value = Number.parseInt(group, 16);
  return [value >> 8, value & 0xff];
}

/**
 * The IPv4 address at an IPv6 address's end. PostgreSQL takes fewer than four octets here, zeros follow them, and also none
 * between dots; leading zeros it refuses.
 */
function parseTail(text: string, { hasWidth }: { readonly hasWidth: boolean }): number[] | undefined {
  const octets = text.split(".");
  if (octets.length > 4 || (octets.at(-1) === "" && !hasWidth)) return undefined;
  const isValid = octets.every((octet) => /^(0|[1-9]\d{0,2})?$/.test(octet) && Number(octet) <= 255);
  return isValid ? fill(octets.map(Number)) : undefined;
}
