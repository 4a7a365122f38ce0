import { escapeIdentifier } from "pg";
import type { PostgresFacts, StoredTable, TableFacts } from "./facts.ts";
import { sql, type Finding } from "./finding.ts";
import type { DoctorSettings } from "./settings.ts";

/** Publications, and what the WAL has of each published table. */
export function checkTables(
  facts: PostgresFacts,
  { publications }: Pick<DoctorSettings, "publications">,
): readonly Finding[] {
  return [...checkPublications(facts, publications), ...facts.tables.flatMap(checkIdentity)];
}

function checkPublications({ publications, tables }: PostgresFacts, names: readonly string[]): readonly Finding[] {
  const findings: Finding[] = [];
  for (const name of names) {
    if (publications.some((publication) => publication.name === name)) continue;
    findings.push({
      severity: "error",
      code: "PUBLICATION_MISSING",
      subject: `publication ${name}`,
      reason: "it does not exist",
      fix: sql(`CREATE PUBLICATION ${escapeIdentifier(name)} FOR TABLE … -- or FOR ALL TABLES, or set PUBLICATIONS`),
    });
  }
  for (const { name, leftOut, isViaRoot } of publications) {
    const subject = `publication ${name}`;
    if (leftOut.length > 0) {
      findings.push({
        severity: "warning",
        code: "PUBLICATION_PARTIAL",
        subject,
        reason: `it leaves out ${leftOut.join(", ")}: clients never hear of them`,
        fix: sql(`ALTER PUBLICATION ${escapeIdentifier(name)} SET (publish = 'insert, update, delete, truncate')`),
      });
    }
    if (!isViaRoot && tables.some(({ isPartition }) => isPartition)) {
      findings.push({
        severity: "warning",
        code: "PARTITIONS_APART",
        subject,
        reason:
          "changes of partitioned tables carry their partitions' names: who subscribes to the table hears nothing",
        fix: sql(`ALTER PUBLICATION ${escapeIdentifier(name)} SET (publish_via_partition_root = true)`),
      });
    }
  }
  if (publications.length > 0 && tables.length === 0) {
    findings.push({
      severity: "warning",
      code: "PUBLICATION_EMPTY",
      subject: `publication ${publications.map(({ name }) => name).join(", ")}`,
      reason: "no table is published",
      fix: sql(`ALTER PUBLICATION ${escapeIdentifier(publications[0]?.name ?? "")} ADD TABLE …`),
    });
  }
  return findings;
}

function checkIdentity({ name, stored, areChangesPublished }: TableFacts): readonly Finding[] {
  if (!areChangesPublished) return [];
  const missing = stored.filter((one) => whyNoIdentity(one) !== undefined);
  if (missing.length > 0) {
    return missing.map((one) => ({
      severity: "error",
      code: "IDENTITY_MISSING",
      subject: `table ${one.name}`,
      reason: `${whyNoIdentity(one)}: PostgreSQL refuses every UPDATE and DELETE while the table is published`,
      // Writes that fail until then begin to work, so that nothing is lost by it. A partitioned table does not pass it on.
      fix: sql(`ALTER TABLE ${one.name} REPLICA IDENTITY FULL`, { isSafe: true }),
    }));
  }
  const narrow = stored.find(({ identity }) => identity !== "full");
  if (narrow === undefined) return [];
  const columns = narrow.identity === "index" ? "the index's columns" : "the primary key";
  return [
    {
      severity: "note",
      code: "IDENTITY_KEY",
      subject: `table ${name}`,
      reason: `old records have ${columns} only, and filters on deletes see nothing else`,
      fix: sql(
        `ALTER TABLE ${narrow.name} REPLICA IDENTITY FULL -- if whole old rows are wanted; the WAL grows by them`,
      ),
    },
  ];
}

function whyNoIdentity({ identity, hasPrimaryKey }: StoredTable): string | undefined {
  if (identity === "nothing") return "REPLICA IDENTITY is NOTHING";
  return identity === "default" && !hasPrimaryKey ? "it has no primary key" : undefined;
}
