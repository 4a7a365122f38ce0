import type { Column } from "@walcast/model";
import { DatabaseUnavailableError, type Database } from "@walcast/postgres";
import pg from "pg";

/** What can be subscribed to, asked of the database. */
export interface PublicationCatalog {
  /** The columns of a published table; `undefined` when it is not published. */
  describe(schema: string, table: string): Promise<readonly Column[] | undefined>;
  close(): Promise<void>;
}

/**
 * `*` stands for every schema or every table: the first published table found will do. Names are joined, not cast to
 * regclass, which would ask for USAGE on the schema.
 */
const columnsQuery = `
  WITH published AS (
    SELECT c.oid
      FROM pg_publication_tables t
      JOIN pg_namespace n ON n.nspname = t.schemaname
      JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
     WHERE t.pubname = ANY($1::text[]) AND ($2 = '*' OR t.schemaname = $2) AND ($3 = '*' OR t.tablename = $3)
     LIMIT 1
  )
  SELECT a.attname AS name, t.typname AS type, a.atttypid::int8 AS type_oid, a.atttypmod AS type_modifier,
         (WITH RECURSIVE base AS (
            SELECT t.oid, t.typname, t.typbasetype
            UNION ALL
            SELECT d.oid, d.typname, d.typbasetype FROM pg_type d JOIN base b ON d.oid = b.typbasetype
          ) SELECT typname FROM base WHERE typbasetype = 0) AS base_type
    FROM published p
    LEFT JOIN pg_attribute a ON a.attrelid = p.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_type t ON t.oid = a.atttypid
   ORDER BY a.attnum`;

interface ColumnRow {
  readonly name: string | null;
  readonly type: string;
  readonly type_oid: string;
  readonly type_modifier: number;
  readonly base_type: string;
}

/** How long an answer serves a storm of joins. A table that was just published must be found at once: absence is not kept. */
const freshMs = 2_000;

interface Answer {
  readonly atMs: number;
  readonly columns: Promise<readonly Column[] | undefined>;
}

/** Asks PostgreSQL, at most once at a time for the same table; while the database is away, former answers serve on. */
export function createPublicationCatalog(
  database: Database,
  {
    publications,
    now = () => performance.now(),
  }: { readonly publications: readonly string[]; readonly now?: () => number },
): PublicationCatalog {
  const pool = new pg.Pool({ ...database, application_name: "walcast gateway", max: 2, query_timeout: 5_000 });
  pool.on("error", () => undefined); // an idle connection was lost; the next question makes another
  const answers = new Map<string, Answer>();

  const ask = async (schema: string, table: string): Promise<readonly Column[] | undefined> => {
    const { rows } = await pool
      .query<ColumnRow>(columnsQuery, [publications, schema, table])
      .catch((cause: unknown) => {
        throw new DatabaseUnavailableError({ cause });
      });
    return rows.length === 0 ? undefined : rows.flatMap(toColumn);
  };

  return {
    async describe(schema, table) {
      const key = `${schema}\0${table}`;
      const former = answers.get(key);
      if (former !== undefined && now() - former.atMs < freshMs) return await former.columns;
      const asked = ask(schema, table);
      // Others who join meanwhile get this promise: the former answer must be in it.
      const columns = former === undefined ? asked : asked.catch(() => former.columns);
      const answer = { atMs: now(), columns };
      answers.set(key, answer);
      const outcome = await asked.then(
        (found) => (found === undefined ? "absent" : "found"),
        () => "failed",
      );
      if (outcome !== "found" && answers.get(key) === answer) {
        if (outcome === "failed" && former !== undefined) answers.set(key, former);
        else answers.delete(key);
      }
      return await columns;
    },
    close: () => pool.end(),
  };
}

const toColumn = (row: ColumnRow): Column[] =>
  row.name === null
    ? []
    : [
        {
          name: row.name,
          type: row.type,
          ...(row.base_type === row.type ? {} : { baseType: row.base_type }),
          typeOid: Number(row.type_oid),
          typeModifier: row.type_modifier,
          isKey: false,
        },
      ];
