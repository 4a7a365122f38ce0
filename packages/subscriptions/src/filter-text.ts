/** Where quotes open in a list of parts: a filter's own text begins with a column's name, which is never quoted there. */
interface Splitting {
  readonly opensAtStart: boolean;
}

/**
 * Splits at commas outside of parentheses and of double quotes. A quote opens only right after `.`, `(` or `,`; inside of
 * quotes a backslash takes the next character (protocol.md 4.8).
 */
export function splitAtCommas(text: string, { opensAtStart }: Splitting): string[] {
  const parts: string[] = [];
  let start = 0;
  let depth = 0;
  let isQuoted = false;
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (isQuoted) {
      if (char === "\\") i++;
      else if (char === '"') isQuoted = false;
    } else if (char === '"' && (i === 0 ? opensAtStart : ".(,".includes(text.charAt(i - 1)))) isQuoted = true;
    else if (char === "(") depth++;
    else if (char === ")") depth = Math.max(0, depth - 1);
    else if (char === "," && depth === 0) {
      parts.push(text.slice(start, i));
      start = i + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}

/** A value wholly in double quotes loses them, and `\x` becomes `x`. */
export const unquote = (value: string): string =>
  value.length >= 2 && value.startsWith('"') && value.endsWith('"')
    ? value.slice(1, -1).replaceAll(/\\(.)/gsu, "$1")
    : value;
