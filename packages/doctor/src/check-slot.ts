import { escapeLiteral } from "pg";
import type { PostgresFacts } from "./facts.ts";
import { elsewhere, serverSetting, setting, sql, type Finding, type Fix } from "./finding.ts";
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
      fix: keepMore(facts, "so that it does not happen again"),
    });
  } else if (slot.walStatus === "unreserved") {
    findings.push({
      severity: "error",
      code: "SLOT_ENDANGERED",
      subject,
      reason: `it is ${lag} behind, and the WAL it needs goes at the next checkpoint`,
      fix: keepMore(facts),
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

function keepMore(facts: PostgresFacts, remark?: string): Fix {
  // Any size would be less than what holds now.
  if (facts.slotKeepBytes === undefined)
    return elsewhere("start an ingester; max_slot_wal_keep_size is -1, so that it is not what limits the slot");
  return serverSetting("max_slot_wal_keep_size", slotKeepSize(facts, 50), remark);
}

/** Never below what holds, or what a slot needs: PostgreSQL gives up at the next checkpoint what has more. */
export function slotKeepSize(
  { slotKeepBytes = 0, keptBytes }: Pick<PostgresFacts, "slotKeepBytes" | "keptBytes">,
  leastGigabytes: number,
): string {
  return `${Math.max(leastGigabytes, Math.ceil((2 * Math.max(slotKeepBytes, keptBytes)) / 2 ** 30))}GB`;
}

/** For people: two digits, in units of 1024. */
export function formatBytes(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${Number((bytes / 1024 ** power).toPrecision(2))} ${units[power]}`;
}
