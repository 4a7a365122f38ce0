import type { Lsn } from "@walcast/model";
import { parseLsn } from "@walcast/model";
import { DatabaseUnavailableError, type Database } from "@walcast/postgres";
import pg from "pg";

/** Writes a message into the WAL that means nothing to anybody, so that the log moves. */
export interface LogNudge {
  /** Throws DatabaseUnavailableError. */
  nudge(): Promise<void>;
  /**
   * As `nudge`, if a publication carries broadcasts from the database; the place before which the message is not committed,
   * so that whoever has read up to it has read the message. `undefined`: none carries them.
   */
  probe(): Promise<Lsn | undefined>;
  close(): Promise<void>;
}

const emit = "pg_catalog.pg_logical_emit_message(true, 'walcast:nudge', '')";
const carried = `SELECT FROM pg_catalog.pg_publication_tables
   WHERE pubname = ANY($1::text[]) AND schemaname = 'realtime' AND tablename ~ '^messages($|_\\d{4}_\\d{2}_\\d{2}$)'`;

/** It needs no rights but what everybody has; pooled, so that it costs a connection only while it is needed. */
export function createLogNudge(
  database: Database,
  { publications }: { readonly publications: readonly string[] },
): LogNudge {
  const pool = new pg.Pool({ ...database, application_name: "walcast nudge", max: 1, query_timeout: 5_000 });
  pool.on("error", () => undefined); // an idle connection was lost; the next question makes another
  const ask = async (text: string, values: readonly unknown[]): Promise<Record<string, unknown> | undefined> => {
    try {
      const { rows } = await pool.query<Record<string, unknown>>(text, [...values]);
      return rows[0];
    } catch (cause) {
      throw new DatabaseUnavailableError({ cause });
    }
  };
  return {
    async nudge() {
      await ask(`SELECT ${emit}`, []);
    },
    async probe() {
      const row = await ask(`SELECT CASE WHEN EXISTS (${carried}) THEN ${emit}::text END AS lsn`, [publications]);
      return parseLsn(String(row?.["lsn"]));
    },
    close: () => pool.end(),
  };
}
