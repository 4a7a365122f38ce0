/** An element of an array, `null` for NULL; a list for an inner array. */
export type ArrayElement = string | null | readonly ArrayElement[];

/**
 * Reads PostgreSQL's text form of an array (manual, "Array Input and Output Syntax"): `{1, "a,b", NULL, {…}}`. `undefined`
 * when it is malformed. Explicit bounds (`[0:1]=…`) are not taken.
 */
export function parseArrayLiteral(text: string): ArrayElement[] | undefined {
  const scanner: Scanner = { text, at: skipSpace(text, 0) };
  const elements = text[scanner.at] === "{" ? readArray(scanner) : undefined;
  return elements !== undefined && skipSpace(text, scanner.at) === text.length ? elements : undefined;
}

interface Scanner {
  readonly text: string;
  at: number;
}

const depthLimit = 6; // PostgreSQL's MAXDIM

const isSpace = (char: string | undefined): boolean => char !== undefined && " \t\n\v\f\r".includes(char);
function skipSpace(text: string, from: number): number {
  let at = from;
  while (isSpace(text[at])) at++;
  return at;
}

/** From an opening brace to behind the closing one. */
function readArray(scanner: Scanner, depth = 1): ArrayElement[] | undefined {
  if (depth > depthLimit) return undefined;
  const { text } = scanner;
  const elements: ArrayElement[] = [];
  scanner.at = skipSpace(text, scanner.at + 1);
  if (text[scanner.at] === "}") {
    scanner.at++;
    return elements;
  }
  for (;;) {
    scanner.at = skipSpace(text, scanner.at);
    const element = text[scanner.at] === "{" ? readArray(scanner, depth + 1) : readElement(scanner);
    if (element === undefined) return undefined;
    elements.push(element);
    scanner.at = skipSpace(text, scanner.at);
    const end = text[scanner.at++];
    if (end === "}") return elements;
    if (end !== ",") return undefined;
  }
}

/** Bare or quoted. A backslash takes the next character in both; NULL is only NULL when it is bare. */
function readElement(scanner: Scanner): string | null | undefined {
  const { text } = scanner;
  const isQuoted = text[scanner.at] === '"';
  if (isQuoted) scanner.at++;
  let value = "";
  let hasEscape = false;
  /** Where trailing white space begins: an escaped blank stays. */
  let end = 0;
  for (; ; scanner.at++) {
    let char = text[scanner.at];
    if (char === undefined) return undefined;
    if (isQuoted ? char === '"' : char === "," || char === "}") break;
    if (!isQuoted && (char === '"' || char === "{")) return undefined;
    if (char === "\\") {
      hasEscape = true;
      char = text[++scanner.at];
      if (char === undefined) return undefined;
      value += char;
      end = value.length;
      continue;
    }
    value += char;
    if (isQuoted || !isSpace(char)) end = value.length;
  }
  if (isQuoted) {
    scanner.at++;
    return value;
  }
  const bare = value.slice(0, end);
  if (bare === "") return undefined;
  return !hasEscape && bare.toUpperCase() === "NULL" ? null : bare;
}
