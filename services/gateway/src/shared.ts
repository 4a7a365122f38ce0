import type { PresenceStore } from "@walcast/presence";
import type { ExchangeCounts } from "./cluster-counts.ts";

/** What gateways share beside the log and the bus. */
export interface Shared {
  readonly presence: PresenceStore;
  /** The members of a gateway that dies leave within this time. */
  readonly leaseMs: number;
  readonly exchangeCounts?: ExchangeCounts;
  close(): void;
}
