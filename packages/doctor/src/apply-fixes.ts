import { connectClient, endClient, type Database } from "@walcast/postgres";
import { describeError } from "@walcast/telemetry";
import type { Finding } from "./finding.ts";

export interface AppliedFix {
  readonly statement: string;
  /** Why PostgreSQL refused it. */
  readonly problem: string | undefined;
}

/**
 * Runs the safe fixes, one after the other; one that is refused keeps no other from being tried, but its own further
 * statements, which build on it.
 */
export async function applyFixes(database: Database, findings: readonly Finding[]): Promise<readonly AppliedFix[]> {
  const fixes = findings.flatMap(({ fix }) => (fix.kind === "sql" && fix.isSafe ? [fix] : []));
  if (fixes.length === 0) return [];
  const client = await connectClient(database, { applicationName: "walcast doctor" });
  try {
    const applied: AppliedFix[] = [];
    for (const { statements } of fixes) {
      for (const statement of statements) {
        const problem = await client.query(statement).then(
          () => undefined,
          (error: unknown) => describeError(error).message,
        );
        applied.push({ statement, problem });
        if (problem !== undefined) break;
      }
    }
    return applied;
  } finally {
    await endClient(client);
  }
}
