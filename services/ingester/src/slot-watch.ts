import { sleep } from "@walcast/lifecycle";
import type { Lsn } from "@walcast/model";
import type { Health } from "@walcast/telemetry";
import type { Client } from "pg";
import type { ReplicationConfig } from "./config.ts";
import { ReplicationLagError, SlotEndangeredError } from "./errors.ts";
import type { IngesterMetrics } from "./metrics.ts";
import { inspectSlot } from "./postgres/slot.ts";
import { lagBehind, lagLimitBytes } from "./slot-keeper.ts";

export interface SlotWatchOptions {
  readonly client: Client;
  readonly config: ReplicationConfig;
  readonly health: Health;
  readonly metrics: IngesterMetrics;
  /** Everything before this is in the log, whether or not it is confirmed yet. */
  readonly publishedLsn: () => Lsn;
  readonly onLag: (lagBytes: number) => void;
  readonly signal: AbortSignal;
  readonly inspectEveryMs?: number;
}

/**
 * Looks at the slot every few seconds, so that WAL never piles up unseen; the question also proves that the connection
 * holding the lock is alive. Throws ReplicationLagError when the slot is to be given up.
 */
export async function watchSlot(options: SlotWatchOptions): Promise<void> {
  const { client, config, health, metrics, publishedLsn, onLag, signal, inspectEveryMs = 5_000 } = options;
  const name = config.SLOT_NAME;
  try {
    while (!signal.aborted) {
      const slot = await inspectSlot(client, name);
      const lagBytes = slot?.lagBytes ?? 0;
      onLag(lagBytes);
      metrics.slotLagBytes.set(lagBytes);
      metrics.slotIsActive.set(slot?.isActive === true ? 1 : 0);
      metrics.slotWalStatus.reset();
      if (slot !== undefined) metrics.slotWalStatus.set({ status: slot.walStatus }, 1);
      health.set("slot", slot?.walStatus === "unreserved" ? new SlotEndangeredError(name, lagBytes) : undefined);
      // What is confirmed a sync interval after it was read is no lag.
      const unreadBytes = slot === undefined ? 0 : lagBehind(slot, publishedLsn());
      if (unreadBytes > lagLimitBytes(config)) throw new ReplicationLagError(name, unreadBytes);
      await sleep(inspectEveryMs, signal);
    }
  } finally {
    // Whoever leads next knows better.
    health.set("slot", undefined);
    metrics.slotLagBytes.remove();
    metrics.slotIsActive.remove();
    metrics.slotWalStatus.reset();
  }
}
