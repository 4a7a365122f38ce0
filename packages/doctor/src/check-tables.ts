import { escapeIdentifier } from "pg";
import type { PostgresFacts, StoredTable, TableFacts } from "./facts.ts";
import { setting, sql, type Finding } from "./finding.ts";
import type { DoctorSettings } from "./settings.ts";

/** Publications, and what each published table lets clients see. */
export function checkTables(
  facts: PostgresFacts,
  settings: Pick<DoctorSettings, "publications" | "tokens">,
): readonly Finding[] {
  return [
    ...checkPublications(facts, settings.publications),
    ...facts.tables.flatMap((table) => [
      ...checkIdentity(table),
      ...checkReaders(table, facts, settings.tokens.areVerified),
    ]),
    ...checkRoles(facts, settings.tokens.areVerified),
  ];
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

function checkReaders(
  table: TableFacts,
  { clientRoles }: PostgresFacts,
  areTokensVerified: boolean,
): readonly Finding[] {
  const subject = `table ${table.name}`;
  const findings: Finding[] = [];
  if (!areTokensVerified) return findings;
  if (clientRoles.length > 0 && table.readers.length === 0) {
    findings.push({
      severity: "warning",
      code: "TABLE_UNREADABLE",
      subject,
      reason: `none of ${clientRoles.map(({ name }) => name).join(", ")} may SELECT from it: their changes come without a row`,
      fix: sql(`GRANT SELECT ON ${table.name} TO authenticated`),
    });
  }
  if (!table.isRowSecured) return findings;
  if (!table.hasPrimaryKey) {
    findings.push({
      severity: "error",
      code: "ROW_SECURITY_NO_KEY",
      subject,
      reason: "row security is on and there is no primary key to ask for a row by: changes come without a row",
      fix: sql(`ALTER TABLE ${table.name} ADD PRIMARY KEY (…)`),
    });
  }
  if (table.policies === 0) {
    findings.push({
      severity: "warning",
      code: "ROW_SECURITY_NO_POLICY",
      subject,
      reason: "row security is on and no policy lets anybody SELECT: only roles that bypass it get changes",
      fix: sql(`CREATE POLICY … ON ${table.name} FOR SELECT TO authenticated USING (…)`),
    });
  }
  return findings;
}

function checkRoles(
  { clientRoles, role, tables, version }: PostgresFacts,
  areTokensVerified: boolean,
): readonly Finding[] {
  if (!areTokensVerified || tables.length === 0) return [];
  if (clientRoles.length === 0) {
    return [
      {
        severity: "warning",
        code: "ROLES_MISSING",
        subject: "PostgreSQL",
        reason: "there is none of the roles anon, authenticated, service_role that Supabase's tokens name",
        fix: setting("walcast migrate --create-roles, unless your tokens name other roles"),
      },
    ];
  }
  const others = clientRoles.filter(({ isOurs }) => !isOurs).map(({ name }) => name);
  if (others.length === 0) return [];
  // Of a membership that is there GRANT changes nothing but what it names.
  const option = version < 16 ? "" : " WITH SET TRUE";
  return [
    {
      severity: "error",
      code: "ROLE_NOT_GRANTED",
      subject: `role ${role}`,
      reason: `gateways cannot ask as ${others.join(", ")} what those may see`,
      fix: sql(
        `GRANT ${others.map((name) => escapeIdentifier(name)).join(", ")} TO ${escapeIdentifier(role)}${option}`,
      ),
    },
  ];
}
