import { escapeIdentifier } from "pg";
import { slotKeepSize } from "./check-slot.ts";
import type { PostgresFacts } from "./facts.ts";
import { elsewhere, serverSetting, setting, sql, type Finding } from "./finding.ts";
import type { DoctorSettings } from "./settings.ts";

const tolerance = { clockSkewMs: 2_000, transactionMs: 600_000, senderTimeoutMs: 5_000 };

/** For the ingester: whether the server can stream, how its role stands, and what will hurt later. */
export function checkReplication(
  facts: PostgresFacts,
  { slot, service }: Pick<DoctorSettings, "slot" | "service">,
): readonly Finding[] {
  const findings: Finding[] = [];
  const subject = "PostgreSQL";
  if (facts.walLevel !== "logical") {
    findings.push({
      severity: "error",
      code: "WAL_LEVEL",
      subject,
      reason: `wal_level is ${facts.walLevel}, so that the WAL holds no rows`,
      fix: sql("ALTER SYSTEM SET wal_level = 'logical' -- and restart PostgreSQL"),
    });
  }
  if (facts.isInRecovery && facts.version < 16) {
    findings.push({
      severity: "error",
      code: "STANDBY",
      subject,
      reason: `it is a standby, and PostgreSQL ${facts.version} decodes on the primary only`,
      fix: setting("DATABASE_URL or DB_HOST: the primary"),
    });
  }
  if (!facts.mayReplicate) {
    const role = escapeIdentifier(facts.role);
    const hint = service === "all" ? "; nothing, if the ingester has another role: --for gateway" : "";
    findings.push({
      severity: "error",
      code: "REPLICATION_PRIVILEGE",
      subject: `role ${facts.role}`,
      reason: "it may not use replication",
      fix: sql(`ALTER ROLE ${role} REPLICATION -- on RDS: GRANT rds_replication TO ${role}${hint}`),
    });
  }
  if (facts.slot === undefined && facts.usedSlots >= facts.maxSlots) {
    findings.push({
      severity: "error",
      code: "NO_FREE_SLOT",
      subject,
      reason: `all ${facts.maxSlots} replication slots are in use, and slot ${slot} has still to be made`,
      fix: sql(`ALTER SYSTEM SET max_replication_slots = ${facts.maxSlots + 5} -- and restart PostgreSQL`),
    });
  }
  if (facts.slot?.isActive !== true && facts.usedSenders >= facts.maxSenders) {
    findings.push({
      severity: "error",
      code: "NO_FREE_SENDER",
      subject,
      reason: `all ${facts.maxSenders} walsenders are in use`,
      fix: sql(`ALTER SYSTEM SET max_wal_senders = ${facts.maxSenders + 5} -- and restart PostgreSQL`),
    });
  }
  if (facts.slotKeepBytes === undefined) {
    findings.push({
      severity: "warning",
      code: "WAL_UNLIMITED",
      subject,
      reason: "max_slot_wal_keep_size is -1: a slot that nobody reads fills the disk, and PostgreSQL stops",
      fix: serverSetting("max_slot_wal_keep_size", slotKeepSize(facts, 10)),
    });
  }
  if (facts.isCommitAsync) {
    findings.push({
      severity: "warning",
      code: "ASYNC_COMMIT",
      subject,
      reason: "synchronous_commit is off: changes come some 200 ms late, when the WAL writer gets to them",
      fix: serverSetting("synchronous_commit", "on", "or where it was set: role, database"),
    });
  }
  if (facts.senderTimeoutMs < tolerance.senderTimeoutMs) {
    const isOff = facts.senderTimeoutMs === 0;
    findings.push({
      severity: "warning",
      code: "SENDER_TIMEOUT",
      subject,
      reason: isOff
        ? "wal_sender_timeout is 0: a dead connection holds the slot for ever"
        : `wal_sender_timeout is ${facts.senderTimeoutMs} ms: a short pause ends the replication connection`,
      fix: serverSetting("wal_sender_timeout", "60s", "or where it was set: role, database"),
    });
  }
  if (facts.slot === undefined && facts.oldestTransactionMs > tolerance.transactionMs) {
    findings.push({
      severity: "warning",
      code: "LONG_TRANSACTION",
      subject,
      reason: `a transaction has been open for ${Math.round(facts.oldestTransactionMs / 60_000)} minutes; a new slot waits for it`,
      fix: sql("SELECT pid, xact_start, query FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start"),
    });
  }
  return findings;
}

export function checkClock({ clockSkewMs }: PostgresFacts): readonly Finding[] {
  if (Math.abs(clockSkewMs) <= tolerance.clockSkewMs) return [];
  const seconds = Math.round(clockSkewMs / 100) / 10;
  return [
    {
      severity: "warning",
      code: "CLOCK_SKEW",
      subject: "PostgreSQL",
      reason: `its clock is ${Math.abs(seconds)} s ${seconds > 0 ? "ahead of" : "behind"} this machine's: lag is misread, tokens expire at other times`,
      fix: elsewhere("synchronise both clocks (chrony, systemd-timesyncd)"),
    },
  ];
}
