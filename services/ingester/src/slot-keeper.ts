import { isEpochBeginning, type ChangeLogWriter } from "@walcast/change-log";
import { formatPosition, type Lsn } from "@walcast/model";
import type { Database } from "@walcast/postgres";
import type { Logger } from "@walcast/telemetry";
import type { Client } from "pg";
import type { ReplicationConfig } from "./config.ts";
import { continuityBreak, formatOrigin, parseOrigin } from "./log-origin.ts";
import type { IngesterMetrics } from "./metrics.ts";
import { identify, type Identity } from "./postgres/identify.ts";
import { checkServer, ensurePublications } from "./postgres/preflight.ts";
import { createSlot, dropSlot, endStaleReader, inspectSlot, type Slot } from "./postgres/slot.ts";

export interface SlotKeeperOptions {
  readonly config: ReplicationConfig;
  readonly database: Database;
  /** The connection that holds the leader lock. */
  readonly client: Client;
  readonly writer: ChangeLogWriter;
  readonly log: Logger;
  readonly metrics: IngesterMetrics;
  /** The slot is known to be unreadable, and why, in words for the operator. */
  readonly unreadable: string | undefined;
}

/** Above this the slot is given up, if that was asked for. */
export const lagLimitBytes = ({ MAX_REPLICATION_LAG_MB: limit }: ReplicationConfig): number =>
  limit > 0 ? limit * 1_000_000 : Number.POSITIVE_INFINITY;

/**
 * Makes the slot and the log fit together, before anything is read: a slot is created where there is none and replaced
 * where it cannot be read any more. Whenever the log cannot simply be continued, a new epoch begins: subscribers are told
 * of the gap at once, by an entry in the log itself, and the log line says what happened. Nothing is recreated silently.
 */
export async function prepareSlot(options: SlotKeeperOptions): Promise<Slot> {
  const { config, database, client, log } = options;
  const { SLOT_NAME: name, PUBLICATIONS: publications, CREATE_PUBLICATION: create } = config;
  const serverVersion = await checkServer(client);
  await ensurePublications(client, { publications, create });
  const identity = await identify(database, name);
  const existing = await inspectSlot(client, name);
  if (existing?.isActive === true) await endStaleReader(client, name);
  const lost = existing === undefined ? "the slot was gone" : whyLost(existing, options);
  await continueLog({ ...options, identity, lost, confirmedLsn: existing?.confirmedLsn });
  if (existing !== undefined && lost === undefined) return existing;
  if (existing !== undefined) await dropSlot(client, name);
  log.info({ slot: name }, "creating the replication slot; this waits for running transactions to end");
  return await createSlot(client, name, serverVersion);
}

/**
 * Begins a new epoch where the log cannot be continued. Before the slot is made anew: a crash in between must not leave a
 * slot that looks well behind a gap that nobody was told of. An epoch that has only just begun has told of it already.
 */
async function continueLog(
  options: SlotKeeperOptions & {
    readonly identity: Identity;
    readonly lost: string | undefined;
    readonly confirmedLsn: Lsn | undefined;
  },
): Promise<void> {
  const { config, writer, log, metrics, identity, lost, confirmedLsn } = options;
  const { last } = writer;
  const origin = formatOrigin(identity.origin);
  const elsewhere = continuityBreak({
    logged: writer.origin === undefined ? undefined : parseOrigin(writer.origin),
    current: identity.origin,
    logEnd: last?.commitLsn,
    ...identity,
  });
  const broken = elsewhere ?? (last === undefined || isEpochBeginning(last) ? undefined : lost);
  if (broken === undefined) {
    if (writer.origin !== origin) await writer.recordOrigin(origin);
    return;
  }
  const startLsn = lost === undefined && confirmedLsn !== undefined ? confirmedLsn : identity.serverLsn;
  await writer.raiseEpoch({ origin, startLsn });
  metrics.epochs.inc();
  log.error(
    {
      slot: config.SLOT_NAME,
      reason: broken,
      epoch: writer.epoch,
      logEnd: last === undefined ? null : formatPosition(last),
    },
    "changes are lost: a new epoch begins, and subscribers are told to read their rows again",
  );
}

function whyLost(slot: Slot, { config, unreadable }: SlotKeeperOptions): string | undefined {
  if (slot.walStatus === "lost") return "the slot lost WAL that it needed; raise max_slot_wal_keep_size";
  if (slot.lagBytes > lagLimitBytes(config)) return "the slot's lag is above MAX_REPLICATION_LAG_MB";
  return unreadable;
}
