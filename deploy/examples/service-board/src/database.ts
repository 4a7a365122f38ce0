import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { errorCode, errorMessage, UpstreamError } from "./errors.ts";
import { readService, RecordError, type UncheckedRecord } from "./record.ts";
import type { Service } from "./service.ts";

const CLOSE_WITHIN_MS = 1_000;

const sql = (name: string): Promise<string> => readFile(new URL(`../sql/${name}`, import.meta.url), "utf8");

/** What to do about an error, by its SQLSTATE or system code. */
function remedyFor(error: unknown): string {
  if (error instanceof RecordError) return "another table has the name public.service; use an empty database";
  switch (errorCode(error)) {
    case "ECONNREFUSED":
      return "start PostgreSQL (`npm start` brings one) or point DATABASE_URL to yours";
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return "check the host name in DATABASE_URL";
    case "28P01":
    case "28000":
      return "check user and password in DATABASE_URL, and pg_hba.conf";
    case "3D000":
      return "create the database named in DATABASE_URL, or name another";
    case "57P01":
    case "57P02":
    case "57P03":
      return "none while PostgreSQL restarts; else start it again";
    case "42501":
      return "let the owner of the tables apply sql/schema.sql and sql/publication.sql, and grant this role SELECT";
    case "42703":
    case "42P01":
      return "another table has the name public.service; use an empty database";
    default:
      return "see the PostgreSQL log; this server keeps trying";
  }
}

const unavailable = (message: string, cause: unknown): UpstreamError =>
  new UpstreamError("postgres", `${message}: ${errorMessage(cause)}`, { remedy: remedyFor(cause), cause });

/**
 * One connection, kept open while the board is live: it reads rarely, and its end tells at once that PostgreSQL went
 * away.
 */
export class Database {
  readonly #client: Client;

  private constructor(client: Client) {
    this.#client = client;
  }

  static async connect(url: string, onLost: (error: UpstreamError) => void): Promise<Database> {
    const client = new Client({
      connectionString: url,
      application_name: "walcast service board",
      connectionTimeoutMillis: 5_000,
      query_timeout: 15_000,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
    });
    // Without this listener a lost connection would end the process.
    client.on("error", (error) => onLost(unavailable("the connection to PostgreSQL was lost", error)));
    try {
      await client.connect();
    } catch (error) {
      throw unavailable("PostgreSQL cannot be reached", error);
    }
    return new Database(client);
  }

  /** Creates the tables when they are missing, and adds the table to the publication when it is not in it. */
  async prepare(): Promise<void> {
    try {
      const missing = await this.#client.query<{ missing: boolean }>(
        "SELECT to_regclass('public.status') IS NULL OR to_regclass('public.service') IS NULL AS missing",
      );
      if (missing.rows[0]?.missing === true) await this.#client.query(await sql("schema.sql"));
      await this.#client.query(await sql("publication.sql"));
    } catch (error) {
      throw unavailable("the tables of the board cannot be prepared", error);
    }
  }

  async readServices(statusIds: readonly number[]): Promise<Service[]> {
    try {
      const { rows } = await this.#client.query<UncheckedRecord>(
        `SELECT id, customer, vehicle, place, problem, status_id, revision, created_at, updated_at
           FROM public.service WHERE status_id = ANY($1)`,
        [statusIds],
      );
      return rows.map(readService);
    } catch (error) {
      throw unavailable("public.service cannot be read", error);
    }
  }

  async close(): Promise<void> {
    // Ending a connection that is lost already may fail, or wait for an answer that never comes.
    const ended = this.#client.end().catch(() => undefined);
    await Promise.race([ended, sleep(CLOSE_WITHIN_MS, undefined, { ref: false })]);
  }
}
