import type { Column } from "@walcast/model";
import { DatabaseUnavailableError, type Database } from "@walcast/postgres";
import { toLikePattern } from "@walcast/subscriptions";
import pg from "pg";

/** A published table as its subscribers may know it. */
export interface PublishedTable {
  readonly oid: number;
  /** How many columns it has ever had. */
  readonly attributes: number;
  readonly schema: string;
  readonly table: string;
  /** Those that are published: publications may list columns, and pgoutput leaves generated ones out. */
  readonly columns: readonly Column[];
  readonly primaryKey: readonly string[];
}

export interface DescribeOptions {
  readonly limit: number;
  readonly notBeforeMs?: number | undefined;
}

/** What can be subscribed to, asked of the database. */
export interface PublicationCatalog {
  /**
   * The published tables of these names, or patterns of names; of many, as many as are asked for. Former answers serve for a
   * moment, unless they were asked for before `notBeforeMs` (monotonic). Throws DatabaseUnavailableError.
   */
  describe(schema: string, table: string, options: DescribeOptions): Promise<readonly PublishedTable[]>;
  close(): Promise<void>;
}

/**
 * Names are joined, not cast to regclass, which would ask for USAGE on the schema. `attnames` is there since PostgreSQL 15.
 * Generated columns are published since 18, where they are listed; 15 lists them and leaves them out.
 */
const columnsQuery = `
  WITH published AS (
    SELECT c.oid, c.relnatts, t.schemaname, t.tablename, array_agg(DISTINCT attname) FILTER (WHERE attname IS NOT NULL) AS attnames
      FROM pg_publication_tables t
      JOIN pg_namespace n ON n.nspname = t.schemaname
      JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
      LEFT JOIN LATERAL jsonb_array_elements_text(
             CASE jsonb_typeof(to_jsonb(t) -> 'attnames') WHEN 'array' THEN to_jsonb(t) -> 'attnames' END
           ) AS attname ON true
     WHERE t.pubname = ANY($1::text[]) AND t.schemaname LIKE $2 AND t.tablename LIKE $3
     GROUP BY c.oid, c.relnatts, t.schemaname, t.tablename
     ORDER BY t.schemaname, t.tablename
     LIMIT $4
  )
  SELECT p.oid::int8 AS oid, p.relnatts AS attributes, p.schemaname AS schema, p.tablename AS table, a.attname AS name, t.typname AS type,
         a.atttypid::int8 AS type_oid, a.atttypmod AS type_modifier,
         coalesce(a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1]), false) AS is_primary,
         base.typname AS base_type,
         CASE base.typtype WHEN 'e' THEN
           ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = base.oid ORDER BY e.enumsortorder)
         END AS labels
    FROM published p
    LEFT JOIN pg_attribute a ON a.attrelid = p.oid AND a.attnum > 0 AND NOT a.attisdropped
          AND (p.attnames IS NULL OR a.attname::text = ANY(p.attnames))
          AND (a.attgenerated = '' OR p.attnames IS NOT NULL AND current_setting('server_version_num')::int >= 180000)
    LEFT JOIN pg_index i ON i.indrelid = p.oid AND i.indisprimary
    LEFT JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN LATERAL (
         WITH RECURSIVE below AS (
           SELECT t.oid, t.typname, t.typtype, t.typbasetype
           UNION ALL
           SELECT d.oid, d.typname, d.typtype, d.typbasetype FROM pg_type d JOIN below b ON d.oid = b.typbasetype
         ) SELECT oid, typname, typtype FROM below WHERE typbasetype = 0
       ) AS base ON true
   ORDER BY p.schemaname, p.tablename, a.attnum`;

interface ColumnRow {
  readonly oid: string;
  readonly attributes: number;
  readonly schema: string;
  readonly table: string;
  readonly name: string | null;
  readonly type: string;
  readonly type_oid: string;
  readonly type_modifier: number;
  readonly is_primary: boolean;
  readonly base_type: string;
  readonly labels: readonly string[] | null;
}

/** How long an answer serves a storm of joins. A table that was just published must be found at once: absence is not kept. */
const freshMs = 2_000;
/** Answers kept for when the database is away. */
const answersLimit = 10_000;

interface Answer {
  readonly atMs: number;
  readonly tables: Promise<readonly PublishedTable[]>;
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

  const ask = async (schema: string, table: string, limit: number): Promise<readonly PublishedTable[]> => {
    const values = [publications, toLikePattern(schema), toLikePattern(table), limit];
    const { rows } = await pool.query<ColumnRow>(columnsQuery, values).catch((cause: unknown) => {
      throw new DatabaseUnavailableError({ cause });
    });
    return toTables(rows);
  };

  return {
    async describe(schema, table, { limit, notBeforeMs = Number.NEGATIVE_INFINITY }) {
      const key = JSON.stringify([schema, table, limit]);
      const former = answers.get(key);
      const isFresh = former !== undefined && now() - former.atMs < freshMs && former.atMs >= notBeforeMs;
      if (isFresh) return await former.tables;
      const asked = ask(schema, table, limit);
      // Others who join meanwhile get this promise: the former answer must be in it.
      const tables = former === undefined ? asked : asked.catch(() => former.tables);
      const answer = { atMs: now(), tables };
      const [oldest] = answers.size >= answersLimit ? answers.keys() : [];
      if (oldest !== undefined) answers.delete(oldest);
      answers.set(key, answer);
      const outcome = await asked.then(
        (found) => (found.length === 0 ? "absent" : "found"),
        () => "failed",
      );
      if (outcome !== "found" && answers.get(key) === answer) {
        if (outcome === "failed" && former !== undefined) answers.set(key, former);
        else answers.delete(key);
      }
      return await tables;
    },
    close: () => pool.end(),
  };
}

/** A table without columns has one row with no name. */
function toTables(rows: readonly ColumnRow[]): PublishedTable[] {
  const byTable = new Map<string, { columns: Column[]; primaryKey: string[] } & PublishedTable>();
  for (const row of rows) {
    const { schema, table, name, attributes } = row;
    const key = JSON.stringify([schema, table]);
    const published = byTable.get(key) ?? {
      oid: Number(row.oid),
      attributes,
      schema,
      table,
      columns: [],
      primaryKey: [],
    };
    byTable.set(key, published);
    published.columns.push(...toColumn(row));
    if (row.is_primary && name !== null) published.primaryKey.push(name);
  }
  return [...byTable.values()];
}

const toColumn = (row: ColumnRow): Column[] =>
  row.name === null
    ? []
    : [
        {
          name: row.name,
          type: row.type,
          ...(row.base_type === row.type ? {} : { baseType: row.base_type }),
          ...(row.labels === null ? {} : { labels: row.labels }),
          typeOid: Number(row.type_oid),
          typeModifier: row.type_modifier,
          isKey: false,
        },
      ];
