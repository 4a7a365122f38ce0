/** Characters a subject token may hold as they are; all others are percent-encoded, as names may hold dots, spaces, `*`, `>`. */
const plain = /[^A-Za-z0-9_-]/gu;

const encodeToken = (name: string): string =>
  name.replaceAll(plain, (char) =>
    [...Buffer.from(char)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
  );

/** The stream that holds a source's changes. */
export const streamName = (source: string): string => `WALCAST_${encodeToken(source).replaceAll("%", "=")}`;

/** Every subject of a source's changes. */
export const changeSubjects = (source: string): string => `walcast.${encodeToken(source)}.changes.>`;

/** `walcast.<source>.changes.<schema>.<table>` */
export const changeSubject = (source: string, schema: string, table: string): string =>
  `walcast.${encodeToken(source)}.changes.${encodeToken(schema)}.${encodeToken(table)}`;
