/** Patterns longer than this are refused: what a pattern costs grows with its length times the text's. */
const likePatternLimit = 1_000;

/** The pattern ends in a lone backslash, which PostgreSQL refuses, or is too long. */
export class LikePatternError extends Error {
  readonly code = "LIKE_PATTERN";
  readonly reason: "escape" | "length";

  constructor(reason: LikePatternError["reason"]) {
    super(
      reason === "escape"
        ? "LIKE pattern must not end with escape character"
        : `LIKE pattern is longer than ${likePatternLimit} characters`,
    );
    this.reason = reason;
  }
}

export interface LikeOptions {
  readonly ignoreCase: boolean;
}

interface Pattern {
  /** Bit i of a character's mask: the pattern's place i takes it. Words of 32 places. */
  readonly masks: ReadonlyMap<number, Uint32Array>;
  /** The places that take any character: `_`. */
  readonly anyone: Uint32Array;
  /** The places that may be stayed at: those right behind a `%`. */
  readonly stays: Uint32Array;
  readonly length: number;
}

/**
 * Compiles a pattern of LIKE or ILIKE: `%` takes any text, `_` any character, a backslash the next character literally.
 *
 * All the places in the pattern that the text so far can have led to are kept as bits and moved on together, so a text costs
 * its length times the pattern's words of 32 places, whatever both contain (Baeza-Yates and Gonnet's shift-and): a pattern
 * made to be slow is not. Throws LikePatternError.
 */
export function compileLike(text: string, { ignoreCase }: LikeOptions): (value: string) => boolean {
  const pattern = parsePattern(text, ignoreCase ? foldCase : (code) => code);
  const normalize = ignoreCase ? foldCase : undefined;
  return (value) => matches(pattern, value, normalize);
}

function parsePattern(text: string, normalize: (code: number) => number): Pattern {
  const characters = Array.from(text, (char) => char.codePointAt(0) ?? 0);
  if (characters.length > likePatternLimit) throw new LikePatternError("length");
  const words = (characters.length >> 5) + 1;
  const masks = new Map<number, Uint32Array>();
  const [anyone, stays] = [new Uint32Array(words), new Uint32Array(words)];
  let length = 0;
  for (let i = 0; i < characters.length; i++) {
    let code = characters[i] ?? 0;
    if (code === 0x25) {
      setBit(stays, length);
      continue;
    }
    if (code === 0x5f) {
      setBit(anyone, length++);
      continue;
    }
    if (code === 0x5c) {
      const escaped = characters[++i];
      if (escaped === undefined) throw new LikePatternError("escape");
      code = escaped;
    }
    const key = normalize(code);
    const mask = masks.get(key) ?? new Uint32Array(words);
    masks.set(key, mask);
    setBit(mask, length++);
  }
  return { masks, anyone, stays, length };
}

const setBit = (bits: Uint32Array, at: number): void => {
  bits[at >> 5] = (bits[at >> 5] ?? 0) | (1 << (at & 31));
};
const hasBit = (bits: Uint32Array, at: number): boolean => ((bits[at >> 5] ?? 0) & (1 << (at & 31))) !== 0;

function matches(
  { masks, anyone, stays, length }: Pattern,
  value: string,
  normalize: ((code: number) => number) | undefined,
): boolean {
  const places = new Uint32Array(anyone.length);
  places[0] = 1;
  const endsOpen = hasBit(stays, length);
  for (let i = 0; i < value.length; i++) {
    if (endsOpen && hasBit(places, length)) return true;
    let code = value.charCodeAt(i);
    if (code >= 0xd800 && code < 0xdc00) {
      code = value.codePointAt(i) ?? code;
      if (code > 0xffff) i++;
    }
    const mask = masks.get(normalize === undefined ? code : normalize(code));
    let carry = 0;
    let isAlive = 0;
    for (let word = 0; word < places.length; word++) {
      const here = places[word] ?? 0;
      const taken = here & ((mask?.[word] ?? 0) | (anyone[word] ?? 0));
      const next = (taken << 1) | carry | (here & (stays[word] ?? 0));
      carry = taken >>> 31;
      places[word] = next;
      isAlive |= next;
    }
    if (isAlive === 0) return false;
  }
  return hasBit(places, length);
}

/** Lower case, where that is one character. */
function foldCase(code: number): number {
  if (code < 0x80) return code >= 0x41 && code <= 0x5a ? code + 0x20 : code;
  const lower = String.fromCodePoint(code).toLowerCase();
  const folded = lower.codePointAt(0) ?? code;
  return lower.length === (folded > 0xffff ? 2 : 1) ? folded : code;
}
