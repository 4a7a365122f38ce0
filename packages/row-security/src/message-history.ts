import type { Claims } from "@walcast/authz";
import { sleep } from "@walcast/lifecycle";
import { parseLsn, zeroLsn, type Lsn } from "@walcast/model";
import { sqlStateOf } from "@walcast/postgres";
import type pg from "pg";
import { askAs, inOneFlight } from "./as-role.ts";
import {
  explainQuestion,
  explainServer,
  SchemaMissingError,
  SnapshotTooOldError,
  TableChangedError,
  type RowSecurityError,
} from "./errors.ts";
import { askPatiently, patienceOfJoins } from "./patience.ts";
import { principalOf, type Principal } from "./principal.ts";
import type { QuestionPool } from "./question-pool.ts";
import { seesAll } from "./snapshot.ts";

export interface HistoryQuestion {
  /** Without `realtime:`. */
  readonly subtopic: string;
  /** `undefined` when tokens are not verified: it is asked as the role that walcast connects as. */
  readonly claims: Claims | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Milliseconds since 1970. */
  readonly sinceMs: number;
  /** The newest so many. */
  readonly limit: number;
  /** Messages with more bytes are left out. */
  readonly payloadLimitBytes: number;
  /** Transactions whose messages the log has brought already: an answer from before them would miss those. */
  readonly xids: ReadonlySet<number>;
}

/** A row of `realtime.messages`. */
export interface StoredMessage {
  readonly id: string;
  readonly event: string;
  readonly encoding: "json" | "binary";
  /** JSON text in UTF-8, or the bytes. */
  readonly payload: Uint8Array;
}

export interface History {
  /** The oldest first. */
  readonly messages: readonly StoredMessage[];
  /** Whatever was committed before this is in the answer or did not match; what came later is in the log behind it. */
  readonly upTo: Lsn;
}

/**
 * The stored broadcasts of private channels (protocol.md 5.5). The peer reads them as itself once the channel may be read
 * from; here they are read as the token's role: the policies that were asked about a probe row are asked about each message,
 * which is the same for those that look at topic and extension, and safe for those that look at more.
 */
export class MessageHistory {
  readonly #pool: QuestionPool;

  constructor(pool: QuestionPool) {
    this.#pool = pool;
  }

  /** Throws RowSecurityError, SnapshotTooOldError, and the signal's reason. */
  async read(question: HistoryQuestion, { signal }: { readonly signal: AbortSignal }): Promise<History> {
    const startedMs = performance.now();
    for (let waitMs = 1; ; waitMs = Math.min(2 * waitMs, longestWaitMs)) {
      const { timeoutMs } = this.#pool;
      const look = (): Promise<readonly Record<string, unknown>[]> =>
        this.#pool.ask("channels", (client) => ask(client, question, timeoutMs), { signal });
      const rows = (await askPatiently(look, patienceOfJoins, signal)) as unknown as readonly HistoryRow[];
      const [first] = rows;
      if (first !== undefined && seesAll(first.snapshot, question.xids)) return historyOf(first.lsn, rows);
      if (performance.now() - startedMs > patienceMs) throw new SnapshotTooOldError();
      await sleep(waitMs, signal);
      signal.throwIfAborted();
    }
  }
}

/** Between two looks when a transaction cannot be seen yet: it is in the log before others see it, by moments mostly. */
const longestWaitMs = 100;
const patienceMs = 10_000;

/**
 * $1 topic, $2 since, $3 limit, $4 bytes. `inserted_at` is local time of who inserts, so it is compared in the time zone that
 * sessions of this database have. Messages of one transaction have one time: they come as they lie in their partition.
 * Supabase's older tables have no `binary_payload`, which is why it is looked for in the row as a whole.
 */
const history = `
  SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text AS snapshot,
         pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text AS lsn, m.id, m.event, m.payload, m.hex
    FROM (SELECT) AS one
    LEFT JOIN (
      SELECT n.id::pg_catalog.text AS id, n.event, n.payload::pg_catalog.text AS payload, n.inserted_at, n.place,
             CASE WHEN n.payload IS NULL THEN pg_catalog.to_jsonb(n) ->> 'binary_payload' END AS hex
        FROM (SELECT m.*, m.ctid AS place FROM realtime.messages AS m
               WHERE m.topic = $1 AND m.private AND m.extension = 'broadcast' AND m.event IS NOT NULL
                 AND m.inserted_at >= pg_catalog.to_timestamp($2::pg_catalog.float8 / 1000)::timestamp
                 AND m.inserted_at < (pg_catalog.now() + interval '1 minute')::timestamp
               ORDER BY m.inserted_at DESC, m.ctid DESC
               LIMIT $3) AS n
    ) AS m ON coalesce(pg_catalog.octet_length(m.payload), pg_catalog.octet_length(m.hex) / 2, 4) <= $4::pg_catalog.int8`;
const inOrder = "ORDER BY m.inserted_at, m.place";

async function ask(
  client: pg.ClientBase,
  { subtopic, claims, headers, sinceMs, limit, payloadLimitBytes }: HistoryQuestion,
  timeoutMs: number,
): Promise<readonly Record<string, unknown>[]> {
  const bytes = Math.min(payloadLimitBytes, Number.MAX_SAFE_INTEGER);
  const values = [subtopic, sinceMs, limit, bytes];
  if (claims === undefined) return await askAsOurselves(client, { text: `${history} ${inOrder}`, values }, timeoutMs);
  const principal: Principal = principalOf(claims, headers);
  return await askAs(client, principal, {
    // As in every question: nothing is told by a transaction that did not begin, in which nobody switched roles.
    text: `${history} WHERE current_user = $5::pg_catalog.text ${inOrder}`,
    values: [...values, principal.role],
    topic: subtopic,
    timeoutMs,
    explain,
  });
}

/** There is always one; without messages its fields are null. */
interface HistoryRow {
  readonly snapshot: string;
  readonly lsn: string;
  readonly id: string | null;
  readonly event: string | null;
  readonly payload: string | null;
  readonly hex: string | null;
}

async function askAsOurselves(
  client: pg.ClientBase,
  question: { readonly text: string; readonly values: readonly unknown[] },
  timeoutMs: number,
): Promise<readonly Record<string, unknown>[]> {
  const [begin, set, answer] = await inOneFlight(client, [
    "BEGIN",
    { text: "SELECT set_config('statement_timeout', $1, true)", values: [String(timeoutMs)] },
    question,
    "COMMIT",
  ]);
  for (const step of [begin, set]) if (step?.status === "rejected") throw explainServer(step.reason);
  if (answer?.status !== "fulfilled") throw explain(answer?.reason);
  return answer.value.rows;
}

function explain(cause: unknown): RowSecurityError {
  const error = explainQuestion(cause, "realtime.messages");
  const isMissing = ["42P01", "3F000"].includes(sqlStateOf(cause) ?? "");
  return error instanceof TableChangedError && isMissing ? new SchemaMissingError({ cause }) : error;
}

function historyOf(lsn: string, rows: readonly HistoryRow[]): History {
  const messages = rows.flatMap(({ id, event, payload, hex }): StoredMessage[] => {
    if (id === null || event === null) return [];
    return hex === null
      ? [{ id, event, encoding: "json", payload: Buffer.from(payload ?? "null") }]
      : [{ id, event, encoding: "binary", payload: Buffer.from(hex.replace(/^\\x/u, ""), "hex") }];
  });
  return { messages, upTo: parseLsn(lsn) ?? zeroLsn };
}
