import type { AppliedFix, ExaminedService, Finding, Severity } from "@walcast/doctor";

export interface Report {
  readonly service: ExaminedService;
  readonly findings: readonly Finding[];
  readonly fixed: readonly AppliedFix[];
  /** Which servers were asked. */
  readonly looked: Readonly<Record<"postgres" | "nats" | "redis", boolean>>;
}

const serverNames = { postgres: "PostgreSQL", nats: "NATS", redis: "Redis" } as const;
const fixLabels = { sql: "SQL", setting: "set", elsewhere: "do" } as const;

/** The report for people: each finding with its reason and what to do, then how many there are. */
export function formatReport({ service, findings, fixed, looked }: Report): string {
  const lines: string[] = [];
  for (const { statement, problem } of fixed)
    lines.push(problem === undefined ? `fixed    ${statement}` : `refused  ${statement}: ${problem}`);
  for (const { severity, code, subject, reason, fix } of findings) {
    lines.push(`${severity.padEnd(8)} ${code}  ${subject}: ${reason}`);
    const label = `         ${fixLabels[fix.kind]}: `;
    const text = fix.text.replaceAll("\n", `\n${" ".repeat(label.length)}`);
    lines.push(`${label}${text}${fix.isSafe ? "  (--fix does it)" : ""}`);
  }
  const names = Object.entries(serverNames) as [keyof typeof serverNames, string][];
  const needed = names.filter(([server]) => service !== "ingester" || server !== "redis");
  const asked = needed.filter(([server]) => looked[server]).map(([, name]) => name);
  const unasked = needed.filter(([server]) => !looked[server]).map(([, name]) => name);
  const whom = { all: "", ingester: " for the ingester", gateway: " for gateways" }[service];
  lines.push(
    `looked at ${asked.join(", ")}${whom}${unasked.length === 0 ? "" : `; not at ${unasked.join(", ")}, which no setting names`}`,
  );
  lines.push(countFindings(findings));
  return lines.join("\n");
}

function countFindings(findings: readonly Finding[]): string {
  if (findings.length === 0) return "everything is well";
  const severities: readonly Severity[] = ["error", "warning", "note"];
  const counts = severities.map((severity) => {
    const count = findings.filter((finding) => finding.severity === severity).length;
    return count === 0 ? "" : `${count} ${severity}${count === 1 ? "" : "s"}`;
  });
  return counts.filter(Boolean).join(", ");
}
