import { connectClient, endClient, sqlStateOf, type Database } from "@walcast/postgres";
import { describeError } from "@walcast/telemetry";
import type { Finding } from "./finding.ts";

export interface AppliedFix {
  readonly statement: string;
  /** Why PostgreSQL refused it. */
  readonly problem: string | undefined;
}

/** Who waits for a table's lock has everybody wait who comes after, readers too. */
const lockTimeoutS = 2;

/**
 * Runs the safe fixes, one after the other; one that is refused keeps no other from being tried, but its own further
 * statements, which build on it.
 */
export async function applyFixes(database: Database, findings: readonly Finding[]): Promise<readonly AppliedFix[]> {
  const fixes = findings.flatMap(({ fix }) => (fix.kind === "sql" && fix.isSafe ? [fix] : []));
  if (fixes.length === 0) return [];
  const client = await connectClient(database, { applicationName: "walcast doctor" });
  try {
    await client.query(`SET lock_timeout = '${lockTimeoutS}s'`);
    const applied: AppliedFix[] = [];
    for (const { statements } of fixes) {
      for (const statement of statements) {
        const problem = await client.query(statement).then(() => undefined, explainRefusal);
        applied.push({ statement, problem });
        if (problem !== undefined) break;
      }
    }
    return applied;
  } finally {
    await endClient(client);
  }
}

function explainRefusal(error: unknown): string {
  const { message } = describeError(error);
  return sqlStateOf(error) === "55P03" // lock_not_available
    ? `somebody has used the table for more than ${lockTimeoutS} s (${message}); try again when that transaction has ended`
    : message;
}
