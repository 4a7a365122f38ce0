import type { ChangeLogWriter } from "@walcast/change-log";
import { comparePositions, formatPosition, maxLsn, zeroLsn, type Lsn, type Position } from "@walcast/model";
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
  /** The newest change that the log is known to have held, and that PostgreSQL was told to forget. */
  readonly forgotten: Position | undefined;
}

/** Above this the slot is given up, if that was asked for. */
export const lagLimitBytes = ({ MAX_REPLICATION_LAG_MB: limit }: ReplicationConfig): number =>
  limit > 0 ? limit * 1_000_000 : Number.POSITIVE_INFINITY;

/** Bytes of WAL that the log does not have: those behind the slot's place and behind `published`. */
export const lagBehind = ({ confirmedLsn, lagBytes }: Slot, published: Lsn): number =>
  Math.max(0, lagBytes - Number(maxLsn(published, confirmedLsn) - confirmedLsn));

/**
 * Makes the slot and the log fit together, before anything is read: a slot is created where there is none and replaced
 * where it cannot be read any more. Whenever the log cannot simply be continued, a new epoch begins: subscribers are told
 * of the gap at once, by an entry in the log itself, and the log line says what happened. Nothing is recreated silently.
 *
 * A log without an origin is one that no slot feeds yet: it is new, or its slot is being made anew. It gets its origin with
 * the epoch that begins where the slot does, so that a crash at any moment leaves a log that says whether it can be
 * continued; and what was committed before the slot was there is a gap to who subscribed before.
 */
export async function prepareSlot(options: SlotKeeperOptions): Promise<Slot> {
  const { config, database, client, writer, log } = options;
  const { SLOT_NAME: name, PUBLICATIONS: publications, CREATE_PUBLICATION: create } = config;
  const serverVersion = await checkServer(client);
  await ensurePublications(client, { publications, create });
  const identity = await identify(database, name);
  const origin = formatOrigin(identity.origin);
  const existing = await inspectSlot(client, name);
  if (existing?.isActive === true) await endStaleReader(client, name);
  const lost = existing === undefined ? "the slot was gone" : whyLost(existing, options);
  const broken = whyBroken(writer, identity) ?? whyCut(options) ?? lost;

  if (writer.origin !== undefined && broken !== undefined) tellOperator(options, broken);
  let slot = existing;
  if (slot === undefined || lost !== undefined) {
    // Who subscribes now is told at once: making the slot may take as long as the longest transaction.
    if (writer.origin !== undefined) await writer.raiseEpoch({ origin: undefined, startLsn: identity.serverLsn });
    if (existing !== undefined) await dropSlot(client, name);
    log.info({ slot: name }, "creating the replication slot; this waits for running transactions to end");
    slot = await createSlot(client, name, serverVersion);
  } else if (broken === undefined && writer.origin !== undefined) {
    if (writer.origin !== origin) await writer.recordOrigin(origin);
    return slot;
  } else if (writer.origin === undefined) {
    log.info({ slot: name }, "the log is new, and begins where the slot stands: who comes from a former log is told");
  }
  await writer.raiseEpoch({ origin, startLsn: slot.confirmedLsn });
  return slot;
}

const whyBroken = ({ origin, last }: ChangeLogWriter, identity: Identity): string | undefined =>
  continuityBreak({
    logged: origin === undefined ? undefined : parseOrigin(origin),
    current: identity.origin,
    logEnd: last?.commitLsn,
    ...identity,
  });

/** A cluster of NATS that elects a server which was behind loses what the others had acknowledged. */
function whyCut({ writer: { last }, forgotten }: SlotKeeperOptions): string | undefined {
  if (last === undefined || forgotten?.epoch !== last.epoch || comparePositions(forgotten, last) <= 0) return undefined;
  return `the log held changes up to ${formatPosition(forgotten)}, which PostgreSQL has forgotten, and ends at ${formatPosition(last)}`;
}

function tellOperator({ config, writer, log, metrics }: SlotKeeperOptions, reason: string): void {
  const { last, epoch } = writer;
  metrics.epochs.inc();
  log.error(
    { slot: config.SLOT_NAME, reason, epoch, logEnd: last === undefined ? null : formatPosition(last) },
    "changes are lost: a new epoch begins, and subscribers are told to read their rows again",
  );
}

function whyLost(slot: Slot, { config, writer, unreadable }: SlotKeeperOptions): string | undefined {
  if (slot.walStatus === "lost") return "the slot lost WAL that it needed; raise max_slot_wal_keep_size";
  if (lagBehind(slot, writer.last?.commitLsn ?? zeroLsn) > lagLimitBytes(config))
    return "the slot's lag is above MAX_REPLICATION_LAG_MB";
  return unreadable;
}
