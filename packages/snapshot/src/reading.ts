import { parseLsn, parseMvccSnapshot, toLsn, type Lsn, type MvccSnapshot } from "@walcast/model";
import type { TypeInfo } from "@walcast/pgoutput";
import { Catalog, localSettings } from "@walcast/postgres";
import { checkRoleName, explainRole, roleStatement, settingsStatement, type Principal } from "@walcast/row-security";
import type { ClientBase } from "pg";
import { explainReading, SnapshotInterruptedError, SnapshotRefusedError } from "./errors.ts";
import { RowWriter } from "./row-writer.ts";
import { buildTableQuery, type TableFacts, type TableRequest } from "./table-query.ts";

/** Where a snapshot stands among the transactions and in the WAL. */
export interface SnapshotPlace {
  readonly sees: MvccSnapshot;
  /** Every transaction that it sees was committed before this place in the WAL. */
  readonly beforeLsn: Lsn;
  /** Transactions from this number on began after the snapshot. */
  readonly nextXid: number;
  /** Commits may wait for other servers before they become visible. */
  readonly waitsForStandbys: boolean;
}

export interface ReadingOptions {
  readonly client: ClientBase;
  /** Types of the database, kept from one reading to the next. */
  readonly types: Map<number, TypeInfo>;
  readonly publications: readonly string[];
  /** As whom rows are read; `undefined`: as walcast itself. */
  readonly principal: Principal | undefined;
  readonly timeoutMs: number;
  readonly maxRows: number;
}

/**
 * `age` counts from the next number that will be given out. The place in the WAL is asked for when the snapshot has been
 * taken: a transaction's commit is in the WAL before anybody sees it.
 */
const placeQuery = `
  SELECT pg_current_snapshot()::text AS snapshot, pg_current_wal_insert_lsn()::text AS lsn,
         age(((pg_snapshot_xmax(pg_current_snapshot())::text::numeric) % 4294967296)::text::xid) AS ahead,
         current_setting('synchronous_standby_names') <> '' AS waits`;

const factsQuery = `
  SELECT c.relkind = 'p' AS "isPartitioned", c.relnatts AS attributes,
         (SELECT jsonb_object_agg(a.attname, a.atttypid::int8) FROM pg_attribute a
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS types,
         (SELECT CASE WHEN bool_and(f IS NOT NULL) THEN string_agg('(' || f || ')', ' OR ') END
            FROM (SELECT to_jsonb(t) ->> 'rowfilter' AS f FROM pg_publication_tables t
                   WHERE t.pubname = ANY($2::text[]) AND t.schemaname = n.nspname AND t.tablename = c.relname) AS x
         ) AS "rowFilter"
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid`;

/**
 * TRUNCATE, and an ALTER TABLE that rewrites, put other files in a table's place, which are empty to a snapshot from before
 * (manual, "MVCC Caveats"). The table is locked by now, so that no more of that can happen.
 */
const unchangedQuery = `
  SELECT coalesce(bool_and(c.relfilenode = pg_relation_filenode(c.oid)), true) AS unchanged
    FROM (SELECT $1::oid AS oid UNION SELECT relid FROM pg_partition_tree($1::oid::regclass)) AS of
    JOIN pg_class c ON c.oid = of.oid WHERE c.relkind IN ('r', 'm')`;

/** Rows of the first page of which nothing is known yet. */
const firstRows = 50;
/** What one page should not be larger than. */
const pageBytes = 256 * 1024;

/**
 * One consistent look at the rows of several tables: a transaction, REPEATABLE READ and READ ONLY, as the principal's role
 * with its claims, so that PostgreSQL itself applies privileges and policies. Pages come from cursors: nothing is fetched
 * before it is asked for.
 */
export class SnapshotReading {
  readonly place: SnapshotPlace;
  readonly #options: ReadingOptions;
  #cursors = 0;

  private constructor(options: ReadingOptions, place: SnapshotPlace) {
    this.#options = options;
    this.place = place;
  }

  /** Throws SnapshotRefusedError and SnapshotInterruptedError; the transaction is the caller's to end, by `end`. */
  static async begin(options: ReadingOptions): Promise<SnapshotReading> {
    const { client, principal, timeoutMs } = options;
    try {
      // The connection is cut by its server when nobody speaks on it any more.
      await client.query(
        `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; ${localSettings};
         SET LOCAL statement_timeout = ${timeoutMs}; SET LOCAL idle_in_transaction_session_timeout = ${2 * timeoutMs}`,
      );
      const { rows } = await client.query<{ snapshot: string; lsn: string; ahead: number; waits: boolean }>(placeQuery);
      const [row] = rows;
      const sees = parseMvccSnapshot(row?.snapshot ?? "");
      if (row === undefined || sees === undefined) throw new SnapshotInterruptedError("PostgreSQL named no snapshot");
      const place = {
        sees,
        beforeLsn: parseLsn(row.lsn) ?? toLsn(0n),
        nextXid: (sees.xmax + Math.max(0, row.ahead)) >>> 0,
        waitsForStandbys: row.waits,
      };
      const reading = new SnapshotReading(options, place);
      if (principal !== undefined) {
        const { text, values } = settingsStatement(principal, { topic: "", timeoutMs });
        await client.query(text, [...values]);
      }
      return reading;
    } catch (error) {
      throw explainReading(error);
    }
  }

  /** Ends the transaction, and with it all that was set for it. */
  async end(): Promise<void> {
    await this.#options.client.query("ROLLBACK");
  }

  /**
   * Page by page, at most so many rows each. Ends with the signal's reason also while no row passes the filter. Throws
   * SnapshotRefusedError and SnapshotInterruptedError.
   */
  async *rows(request: TableRequest, pageRows: number, signal?: AbortSignal): AsyncGenerator<readonly Buffer[]> {
    const { client, types, maxRows } = this.#options;
    try {
      const query = buildTableQuery(request, await this.#facts(request), maxRows);
      const catalog = new Catalog(client, types);
      if (types.size === 0) await catalog.loadBuiltIn();
      await catalog.learn({ columns: query.columns.map((column) => ({ ...column, isKey: false })) });
      const cursor = `walcast_${++this.#cursors}`;
      await this.#become();
      await client.query(`DECLARE ${cursor} NO SCROLL CURSOR FOR ${query.text}`, [...query.values]);
      await this.#checkUnchanged(request);
      const writer = new RowWriter(query.columns, types);
      const most = request.limit ?? maxRows;
      let count = Math.min(firstRows, pageRows);
      for (let sent = 0; request.limit === undefined || sent < most;) {
        const { rows } = await client.query<(string | null)[]>({ text: `FETCH ${count} FROM ${cursor}`, ...asText });
        signal?.throwIfAborted();
        const found = rows.map((row) => query.pick(writer.write(row))).filter((row) => row !== undefined);
        if (request.limit === undefined && sent + found.length > most) throw tooMany(request, most);
        const page = found.slice(0, most - sent);
        sent += page.length;
        if (page.length > 0) yield page;
        if (rows.length < count) break;
        count = nextCount(page, { pageRows, count });
      }
      await client.query(`CLOSE ${cursor}`);
      await client.query("SET LOCAL ROLE none");
    } catch (error) {
      throw explainReading(error);
    }
  }

  /** The request may describe the table as it was: rows would lack columns, or be written as another type's. */
  async #facts({ oid, schema, table, attributes, columns }: TableRequest): Promise<TableFacts> {
    const { client, publications } = this.#options;
    const { rows } = await client.query<TableFacts & Record<string, unknown>>(factsQuery, [oid, publications]);
    const [facts] = rows;
    if (facts === undefined) throw new SnapshotInterruptedError(`table ${schema}.${table} is not there`);
    const isSame = columns.every(({ name, typeOid }) => facts.types?.[name] === typeOid);
    if (facts.attributes !== attributes || !isSame)
      throw new SnapshotInterruptedError(`table ${schema}.${table} was altered meanwhile`);
    return facts;
  }

  /** Looking up names and types is walcast's own business; reading rows is the principal's. */
  async #become(): Promise<void> {
    const { client, principal } = this.#options;
    if (principal === undefined) return;
    try {
      checkRoleName(principal);
      const { text, values } = roleStatement(principal);
      await client.query(text, [...values]);
    } catch (cause) {
      const error = explainRole(cause, principal);
      throw error.code === "ROLE_UNKNOWN" || error.code === "ROLE_NOT_GRANTED"
        ? new SnapshotRefusedError(error.message, { cause })
        : cause;
    }
  }

  async #checkUnchanged({ oid, schema, table }: TableRequest): Promise<void> {
    const { rows } = await this.#options.client.query<{ unchanged: boolean }>(unchangedQuery, [oid]);
    if (rows[0]?.unchanged !== true) {
      throw new SnapshotInterruptedError(`table ${schema}.${table} was emptied or rewritten meanwhile`);
    }
  }
}

/** Every value as PostgreSQL writes it. */
const asText = {
  rowMode: "array",
  types: { getTypeParser: () => (text: string) => text },
} as unknown as { rowMode: "array" };

/** Without a limit all rows were asked for: that some are left out must not go unsaid. */
const tooMany = ({ schema, table }: TableRequest, most: number): SnapshotRefusedError =>
  new SnapshotRefusedError(
    `${schema}.${table} has more than ${most} rows; ask for fewer with a filter or a limit, or raise SNAPSHOT_MAX_ROWS`,
  );

/** Large rows come in few at a time, so that a page fits into memory. */
function nextCount(
  page: readonly Buffer[],
  { pageRows, count }: { readonly pageRows: number; readonly count: number },
): number {
  if (page.length === 0) return Math.min(pageRows, 2 * count);
  const average = page.reduce((sum, { length }) => sum + length, 0) / page.length;
  return Math.max(1, Math.min(pageRows, Math.floor(pageBytes / average)));
}
