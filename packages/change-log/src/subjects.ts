import type { Relation } from "@walcast/model";

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

/**
 * `walcast.<source>.changes.<schema>.<table>`. What belongs to no table (oid 0), or to several, has a last token of its own
 * that begins with `$`, which is never in a name's token.
 */
export const changeSubject = (
  source: string,
  { relation: { oid, schema, table }, isMixed = false }: SubjectMatter,
): string => {
  const about = isMixed ? "$mixed" : oid === 0 ? schema : `${encodeToken(schema)}.${encodeToken(table)}`;
  return `walcast.${encodeToken(source)}.changes.${about}`;
};

interface SubjectMatter {
  readonly relation: Pick<Relation, "oid" | "schema" | "table">;
  readonly isMixed?: boolean;
}

/** Where the leader's heartbeats are heard; not part of the stream. */
export const leaderSubject = (source: string): string => `walcast.${encodeToken(source)}.leader`;
