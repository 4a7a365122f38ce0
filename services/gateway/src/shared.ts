import type { PresenceStore } from "@walcast/presence";
import type { ExchangeCounts } from "./cluster-counts.ts";
import type { PlaceStore } from "./place-store.ts";

/** What gateways share beside the log and the bus. */
export interface Shared {
  readonly presence: PresenceStore;
  /** The members of a gateway that dies leave within this time. */
  readonly leaseMs: number;
  /** Where clients with a resume id are. */
  readonly places?: PlaceStore;
  readonly exchangeCounts?: ExchangeCounts;
  close(): void;
}
