/** Without the white space that PostgreSQL's input functions pass over, which is less than what JavaScript's `trim` takes. */
export const trimSpace = (text: string): string => text.replace(/^[ \t\n\v\f\r]+/, "").replace(/[ \t\n\v\f\r]+$/, "");
