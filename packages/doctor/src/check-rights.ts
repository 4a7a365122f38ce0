import { escapeIdentifier } from "pg";
import type { PostgresFacts, TableFacts } from "./facts.ts";
import { setting, sql, type Finding } from "./finding.ts";
import type { DoctorSettings } from "./settings.ts";

/** For gateways: what each published table lets clients see, and whether it can be asked as them. */
export function checkRights(
  facts: PostgresFacts,
  { service, tokens }: Pick<DoctorSettings, "service" | "tokens">,
): readonly Finding[] {
  if (!tokens.areVerified) return [];
  return [...facts.tables.flatMap((table) => checkReaders(table, facts)), ...checkRoles(facts, service)];
}

function checkReaders(table: TableFacts, { clientRoles }: PostgresFacts): readonly Finding[] {
  const subject = `table ${table.name}`;
  const findings: Finding[] = [];
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
  service: DoctorSettings["service"],
): readonly Finding[] {
  if (tables.length === 0) return [];
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
  const hint = service === "all" ? " -- nothing, if gateways have another role: --for ingester" : "";
  return [
    {
      severity: "error",
      code: "ROLE_NOT_GRANTED",
      subject: `role ${role}`,
      reason: `gateways cannot ask as ${others.join(", ")} what those may see`,
      fix: sql(
        `GRANT ${others.map((name) => escapeIdentifier(name)).join(", ")} TO ${escapeIdentifier(role)}${option}${hint}`,
      ),
    },
  ];
}
