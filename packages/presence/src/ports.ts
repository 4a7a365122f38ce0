/** What one channel tracks: one of the metas of a key. */
export interface PresenceEntry {
  /** Unique among all gateways; stays while what is tracked is updated. */
  readonly id: string;
  /** The gateway the channel is on. */
  readonly gateway: string;
  readonly key: string;
  /** `phx_ref`: changes with every update. */
  readonly ref: string;
  readonly previousRef?: string | undefined;
  /** Counted by the gateway: of two versions of an entry the higher one is newer. */
  readonly version: number;
  /** What the client tracks: a JSON object as the client spelled it, without the names that are ours. */
  readonly meta: string;
}

/** An entry where it stands. */
export interface PlacedEntry {
  readonly topic: string;
  readonly entry: PresenceEntry;
}

/** An entry with the lease that it lives by. */
export interface LeasedEntry {
  readonly lease: string;
  readonly entry: PresenceEntry;
}

/** A topic at one moment. */
export interface PresenceSnapshot {
  /** Those that are seen: their lease stands. */
  readonly entries: readonly LeasedEntry[];
  /** All leases that stand, whether they have entries in the topic or not. */
  readonly leases: ReadonlySet<string>;
}

/** Entries of a dead lease that were removed, by topic. */
export interface Sweep {
  readonly swept: readonly { readonly lease: string; readonly topics: readonly string[] }[];
  /** No lease ends earlier than after this long, when nobody renews it; `undefined` when there is none. */
  readonly nextMs: number | undefined;
}

/**
 * Who is present in which topic, for all gateways. Each gateway keeps its entries under a lease: they are seen while it
 * stands, and whoever comes first removes them when it does not. A lease that is lost never comes back: its gateway takes
 * another one, with another name, and enters everything again.
 *
 *     opened ─renew─► standing ─not renewed for its time, or ended─► dead ─sweep─► gone
 *
 * What one caller does happens in the order of its calls. Everything rejects when the store cannot be reached; nothing waits.
 */
export interface PresenceStore {
  /** Begins a lease. Entries may be put under it, and are not seen before its first renewal. */
  open(lease: string): Promise<void>;
  renew(lease: string): Promise<"renewed" | "lost">;
  /** New entries and new versions of known ones. */
  put(lease: string, entries: readonly PlacedEntry[]): Promise<"stored" | "lost">;
  remove(lease: string, entry: PlacedEntry): Promise<void>;
  snapshot(topic: string): Promise<PresenceSnapshot>;
  /** Removes what dead leases left behind. Of each topic of a lease exactly one caller is told, unless it dies meanwhile. */
  sweep(): Promise<Sweep>;
  /** Ends a lease and removes its entries; a sweep tells nobody of them. */
  end(lease: string): Promise<void>;
  close(): Promise<void>;
}
