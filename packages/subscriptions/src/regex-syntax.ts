/** The expression is wrong, or uses what the engine does not have; the message is in PostgreSQL's words where it has some. */
export class RegexSyntaxError extends Error {
  readonly code = "REGEX_SYNTAX";
}

/** An expression in the engine's syntax (RE2's), to be compiled with "dot matches newline". */
export interface TranslatedRegex {
  readonly source: string;
  /** Set when the expression says so itself: `(?i)`, `(?c)`. */
  readonly ignoreCase: boolean | undefined;
}

/** Longer expressions are refused before anything looks at them. */
const lengthLimit = 1_000;

const notSupported = (what: string): RegexSyntaxError => new RegexSyntaxError(`${what} not supported`);
const word = String.raw`\p{L}\p{N}_`;
const space = String.raw`\t\n\v\f\r \p{Z}`;

/** Escapes that stand for sets of characters, outside of brackets. */
const classEscapes: Readonly<Record<string, string>> = {
  d: "[0-9]",
  D: "[^0-9]",
  w: `[${word}]`,
  W: `[^${word}]`,
  s: `[${space}]`,
  S: `[^${space}]`,
};
/** Those that can stand inside of brackets. */
const bracketEscapes: Readonly<Record<string, string>> = { d: "0-9", w: word, s: space };

const constraintEscapes: Readonly<Record<string, string>> = {
  A: String.raw`\A`,
  Z: String.raw`\z`,
  y: String.raw`\b`,
  Y: String.raw`\B`,
};

const characterEscapes: Readonly<Record<string, number>> = {
  a: 0x07,
  b: 0x08,
  B: 0x5c,
  e: 0x1b,
  f: 0x0c,
  n: 0x0a,
  r: 0x0d,
  t: 0x09,
  v: 0x0b,
};

const classes: Readonly<Record<string, string>> = {
  alnum: String.raw`\p{L}\p{N}`,
  alpha: String.raw`\p{L}`,
  blank: String.raw`\t `,
  cntrl: "[:cntrl:]",
  digit: "0-9",
  graph: "[:graph:]",
  lower: String.raw`\p{Ll}`,
  print: "[:print:]",
  punct: "[:punct:]",
  space,
  upper: String.raw`\p{Lu}`,
  word,
  xdigit: "0-9A-Fa-f",
};

/**
 * Translates PostgreSQL's advanced regular expressions (manual, "POSIX Regular Expressions") to RE2's syntax, piece by piece:
 * what is not known here is refused, so that nothing is taken in another sense. Throws RegexSyntaxError.
 *
 * Not supported: back-references, look-around, `\m` and `\M` next to anything but a letter or digit, newline-sensitive and
 * other embedded options than `i`, `c`, `s` and `t`.
 */
export function translateRegex(pattern: string): TranslatedRegex {
  if (pattern.length > lengthLimit) throw new RegexSyntaxError("regular expression is too complex");
  if (pattern.startsWith("***=")) return { source: quote(pattern.slice(4)), ignoreCase: undefined };
  if (pattern.startsWith("***") && !pattern.startsWith("***:"))
    throw new RegexSyntaxError("quantifier operand invalid");
  const rest = pattern.startsWith("***:") ? pattern.slice(4) : pattern;
  const options = /^\(\?([a-z]+)\)/.exec(rest);
  const source = new Translation(rest.slice(options?.[0].length ?? 0)).source();
  return { source, ignoreCase: options === null ? undefined : ignoresCase(options[1] ?? "") };
}

/** The last of `i` and `c` counts; `s` and `t` are what holds anyway. */
function ignoresCase(letters: string): boolean | undefined {
  let answer: boolean | undefined;
  for (const letter of letters) {
    if (letter === "i" || letter === "c") answer = letter === "i";
    else if (letter !== "s" && letter !== "t") throw notSupported(`embedded option ${letter} is`);
  }
  return answer;
}

const quote = (text: string): string => Array.from(text, literal).join("");
const literal = (char: string): string => (/[\\.+*?()|[\]{}^$-]/.test(char) ? `\\${char}` : char);
const isWordCharacter = (char: string | undefined): boolean => char !== undefined && /^[A-Za-z0-9_]$/.test(char);

class Translation {
  readonly #chars: readonly string[];
  #at = 0;
  #depth = 0;

  constructor(pattern: string) {
    this.#chars = Array.from(pattern);
  }

  source(): string {
    const out: string[] = [];
    /** Whether a quantifier may follow: only something that takes characters can be repeated. */
    let isAtom = false;
    while (this.#at < this.#chars.length) {
      const char = this.#chars[this.#at] ?? "";
      const quantifier = this.#quantifier();
      if (quantifier !== undefined) {
        if (!isAtom) throw new RegexSyntaxError("quantifier operand invalid");
        out.push(quantifier);
        isAtom = false;
        continue;
      }
      isAtom = !"(|^$".includes(char);
      if (char === "\\") {
        const { source, isConstraint } = this.#escape();
        out.push(source);
        isAtom = !isConstraint;
      } else if (char === "[") {
        const { source, isConstraint } = this.#bracket();
        out.push(source);
        isAtom = !isConstraint;
      } else {
        this.#at++;
        out.push(this.#plain(char));
      }
    }
    if (this.#depth > 0) throw unbalanced("parentheses ()");
    return out.join("");
  }

  #plain(char: string): string {
    switch (char) {
      case "(":
        this.#depth++;
        return this.#open();
      case ")":
        if (--this.#depth < 0) throw unbalanced("parentheses ()");
        return ")";
      case "|":
      case ".":
        return char;
      case "^":
        return String.raw`\A`;
      case "$":
        return String.raw`\z`;
      default:
        return literal(char);
    }
  }

  #open(): string {
    if (this.#chars[this.#at] !== "?") return "(?:"; // what groups capture is nothing to a test
    if (this.#chars[this.#at + 1] !== ":") throw notSupported("look-around and embedded options are");
    this.#at += 2;
    return "(?:";
  }

  /** A quantifier here, greedy or not, which makes no difference to a test. */
  #quantifier(): string | undefined {
    const match = /^(?:[*+?]|\{(\d+)(,(\d*))?\})\??/.exec(this.#chars.slice(this.#at, this.#at + 20).join(""));
    if (match === null) {
      if (this.#chars[this.#at] === "{" && /\d/.test(this.#chars[this.#at + 1] ?? ""))
        throw new RegexSyntaxError("invalid repetition count(s)");
      return undefined;
    }
    const [text, least = "0", , most = ""] = match;
    if (Number(least) > 255 || Number(most) > 255 || (most !== "" && Number(most) < Number(least)))
      throw new RegexSyntaxError("invalid repetition count(s)");
    this.#at += text.length;
    return text;
  }

  #escape(): { source: string; isConstraint: boolean } {
    const char = this.#chars[this.#at + 1];
    if (char === undefined) throw new RegexSyntaxError("invalid escape \\ sequence");
    const known = classEscapes[char];
    const constraint = constraintEscapes[char];
    if (known !== undefined || constraint !== undefined || char === "m" || char === "M") {
      const before = this.#chars[this.#at - 1];
      this.#at += 2;
      if (known !== undefined) return { source: known, isConstraint: false };
      return { source: constraint ?? this.#wordEdge(char, before), isConstraint: true };
    }
    return { source: literal(this.#escapedCharacter()), isConstraint: false };
  }

  /** The engine's `\b` does not tell a word's beginning from its end; a word character beside it does. */
  #wordEdge(which: string, before: string | undefined): string {
    const inside = which === "m" ? this.#chars[this.#at] : before;
    if (!isWordCharacter(inside)) throw notSupported(`\\${which} next to anything but a letter or digit is`);
    return String.raw`\b`;
  }

  /** The one character that an escape stands for; `#at` is at the backslash before and behind the escape after. */
  #escapedCharacter(): string {
    const char = this.#chars[this.#at + 1] ?? "";
    const rest = this.#chars.slice(this.#at + 2, this.#at + 12).join("");
    this.#at += 2;
    if (!/^[A-Za-z0-9]$/.test(char)) return char;
    const single = characterEscapes[char];
    if (single !== undefined) return String.fromCodePoint(single);
    const digits =
      char === "u"
        ? /^[0-9a-f]{4}/i.exec(rest)
        : char === "U"
          ? /^[0-9a-f]{8}/i.exec(rest)
          : char === "x"
            ? /^[0-9a-f]+/i.exec(rest)
            : null;
    if (digits !== null) {
      this.#at += digits[0].length;
      return fromCode(Number.parseInt(digits[0], 16));
    }
    if (char === "c" && rest !== "") {
      this.#at++;
      return String.fromCodePoint((rest.codePointAt(0) ?? 0) & 0x1f);
    }
    if (char >= "1" && char <= "9") throw notSupported("back-references are");
    if (char === "0") return this.#octal(rest);
    throw new RegexSyntaxError("invalid escape \\ sequence");
  }

  #octal(rest: string): string {
    const digits = /^[0-7]{0,2}/.exec(rest)?.[0] ?? "";
    this.#at += digits.length;
    return fromCode(Number.parseInt(`0${digits}`, 8));
  }

  #bracket(): { source: string; isConstraint: boolean } {
    const edge = /^\[\[:([<>]):\]\]/.exec(this.#chars.slice(this.#at, this.#at + 7).join(""));
    if (edge !== null) {
      const before = this.#chars[this.#at - 1];
      this.#at += 7;
      return { source: this.#wordEdge(edge[1] === "<" ? "m" : "M", before), isConstraint: true };
    }
    this.#at++;
    const isNegated = this.#chars[this.#at] === "^";
    if (isNegated) this.#at++;
    const items: string[] = [];
    for (let isFirst = true; isFirst || this.#chars[this.#at] !== "]"; isFirst = false) items.push(this.#bracketItem());
    this.#at++;
    return { source: `[${isNegated ? "^" : ""}${items.join("")}]`, isConstraint: false };
  }

  #bracketItem(): string {
    const set = this.#bracketSet();
    if (set !== undefined) return set;
    const from = this.#bracketCharacter();
    if (this.#chars[this.#at] !== "-" || this.#chars[this.#at + 1] === "]") return bracketLiteral(from);
    this.#at++;
    if (this.#bracketSet() !== undefined) throw new RegexSyntaxError("invalid character range");
    const to = this.#bracketCharacter();
    if ((from.codePointAt(0) ?? 0) > (to.codePointAt(0) ?? 0)) throw new RegexSyntaxError("invalid character range");
    return `${bracketLiteral(from)}-${bracketLiteral(to)}`;
  }

  /** `[:alpha:]` or `\d`: a set of characters among others. */
  #bracketSet(): string | undefined {
    const ahead = this.#chars.slice(this.#at, this.#at + 12).join("");
    const named = /^\[:([a-z]*):\]/.exec(ahead);
    if (named !== null) {
      const set = classes[named[1] ?? ""];
      if (set === undefined) throw new RegexSyntaxError("invalid character class");
      this.#at += named[0].length;
      return set;
    }
    if (ahead[0] !== "\\") return undefined;
    if (/^\\[DSW]/.test(ahead)) throw notSupported(`${ahead.slice(0, 2)} inside of brackets is`);
    const set = bracketEscapes[ahead[1] ?? ""];
    if (set !== undefined) this.#at += 2;
    return set;
  }

  #bracketCharacter(): string {
    const char = this.#chars[this.#at];
    if (char === undefined) throw unbalanced("brackets []");
    if (char === "\\") {
      if (this.#chars[this.#at + 1] === undefined) throw new RegexSyntaxError("invalid escape \\ sequence");
      return this.#escapedCharacter();
    }
    if (char === "[" && "=.:".includes(this.#chars[this.#at + 1] ?? " "))
      throw notSupported("collating elements and equivalence classes are");
    this.#at++;
    return char;
  }
}

const bracketLiteral = (char: string): string => (/[\\\]^[&~-]/.test(char) ? `\\${char}` : char);
const unbalanced = (what: string): RegexSyntaxError => new RegexSyntaxError(`${what} not balanced`);

/** A code that is no character cannot be matched. */
function fromCode(code: number): string {
  if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) throw new RegexSyntaxError("invalid escape \\ sequence");
  return String.fromCodePoint(code);
}
