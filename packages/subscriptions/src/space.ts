const spaces = " \t\n\v\f\r";

/** Without the white space that PostgreSQL's input functions pass over, which is less than what JavaScript's `trim` takes. */
export function trimSpace(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && spaces.includes(text.charAt(start))) start++;
  while (end > start && spaces.includes(text.charAt(end - 1))) end--;
  return start === 0 && end === text.length ? text : text.slice(start, end);
}

/** Without the blanks at its end, in one pass: a regular expression would begin anew at every blank inside. */
export function trimTrailingBlanks(text: string): string {
  let end = text.length;
  while (end > 0 && text.charCodeAt(end - 1) === 0x20) end--;
  return text.slice(0, end);
}
