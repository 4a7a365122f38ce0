// TC39 "JSON.parse source text access", which the type definitions do not know yet.
declare global {
  interface JSON {
    /** What `stringify` writes as it is. */
    rawJSON(text: string): object;
  }
}

/**
 * Reads JSON so that `JSON.stringify` writes its numbers as they were: policies compare claims that a double cannot hold, as
 * 64-bit ids, and two tokens that differ in one are two principals. Those of `exp` and `iat` are for us, and stay numbers.
 * Throws SyntaxError.
 */
export function parseExactly(text: string): unknown {
  const revive = (key: string, value: unknown, { source = "" }: { readonly source?: string } = {}): unknown => {
    if (typeof value !== "number" || Number.isSafeInteger(value) || key === "exp" || key === "iat") return value;
    return JSON.stringify(value) === source ? value : JSON.rawJSON(source);
  };
  return JSON.parse(text, revive);
}
