/**
 * bytea as bare hexadecimal, which is how records carry it. A filter's text is in either form that PostgreSQL takes: `\x` and
 * hexadecimal, with white space between pairs, or characters with `\\` and `\ooo` for others ("Binary Data Types").
 */
export function parseBytea(text: string): string | undefined {
  if (!text.startsWith("\\x")) return parseEscaped(text);
  const digits = text.slice(2);
  return /^([ \t\n\r]*[0-9a-f]{2})*[ \t\n\r]*$/i.test(digits)
    ? digits.replaceAll(/[ \t\n\r]/g, "").toLowerCase()
    : undefined;
}

function parseEscaped(text: string): string | undefined {
  if (!/^([^\\]|\\\\|\\[0-3][0-7][0-7])*$/s.test(text)) return undefined;
  return text.replaceAll(/\\(\\|[0-7]{3})|[^\\]+/gs, (all, escaped?: string) => {
    if (escaped === undefined) return Buffer.from(all).toString("hex");
    return escaped === "\\" ? "5c" : Number.parseInt(escaped, 8).toString(16).padStart(2, "0");
  });
}
