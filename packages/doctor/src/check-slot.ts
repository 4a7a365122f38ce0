import { escapeLiteral } from "pg";
import type { PostgresFacts } from "./facts.ts";
import { elsewhere, setting, sql, type Finding } from "./finding.ts";
import type { DoctorSettings } from "./settings.ts";

const lagLimitBytes = 2 ** 30;

/** Whether walcast can read the slot, and whether it keeps up. A slot that is not there is made by the ingester. */
export function checkSlot(facts: PostgresFacts, { slot: name }: Pick<DoctorSettings, "slot">): readonly Finding[] {
  const { slot, slotKeepBytes } = facts;
  if (slot === undefined) return [];
  const subject = `slot ${name}`;
  const mismatch =
    slot.type !== "logical"
      ? `is a ${slot.type} slot`
      : !slot.isHere
        ? "belongs to another database"
        : slot.plugin !== "pgoutput"
          ? `uses plugin ${slot.plugin}, not pgoutput`
          : undefined;
  if (mismatch !== undefined) {
    const fix = setting(
      `SLOT_NAME: another name, unless nobody needs the slot: SELECT pg_drop_replication_slot(${escapeLiteral(name)})`,
    );
    return [{ severity: "error", code: "SLOT_MISMATCH", subject, reason: `it ${mismatch}`, fix }];
  }
  const findings: Finding[] = [];
  const lag = formatBytes(slot.lagBytes);
  if (slot.walStatus === "lost") {
    findings.push({
      severity: "error",
      code: "SLOT_LOST",
      subject,
      reason: "WAL that it needed is gone; an ingester that starts makes it anew and tells clients of the gap",
      fix: sql(
        "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf() -- so that it does not happen again",
      ),
    });
  } else if (slot.walStatus === "unreserved") {
    findings.push({
      severity: "error",
      code: "SLOT_ENDANGERED",
      subject,
      reason: `it is ${lag} behind, and the WAL it needs goes at the next checkpoint`,
      fix: sql("ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf()"),
    });
  }
  if (!slot.isActive && slot.walStatus !== "lost") {
    findings.push({
      severity: "warning",
      code: "SLOT_INACTIVE",
      subject,
      reason: `nobody reads it, and PostgreSQL keeps ${lag} of WAL for it`,
      fix: sql(
        `SELECT pg_drop_replication_slot(${escapeLiteral(name)}) -- if walcast is gone for good; else start an ingester`,
      ),
    });
  }
  const limit = Math.min(lagLimitBytes, (slotKeepBytes ?? Number.POSITIVE_INFINITY) / 2);
  if (slot.lagBytes > limit && slot.walStatus !== "lost") {
    findings.push({
      severity: "warning",
      code: "SLOT_LAG",
      subject,
      reason:
        slotKeepBytes === undefined
          ? `it is ${lag} behind`
          : `it is ${lag} behind; at ${formatBytes(slotKeepBytes)} (max_slot_wal_keep_size) PostgreSQL gives it up`,
      fix: elsewhere(
        "see what keeps the ingester or NATS from taking changes (/healthz of the ingester), or raise max_slot_wal_keep_size",
      ),
    });
  }
  return findings;
}

/** For people: two digits, in units of 1024. */
export function formatBytes(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${Number((bytes / 1024 ** power).toPrecision(2))} ${units[power]}`;
}
