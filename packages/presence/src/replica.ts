import { stateText, type PresenceDiff } from "./payloads.ts";
import type { PresenceEntry, PresenceSnapshot } from "./ports.ts";

/** How an entry stands in the store. */
export interface Placement {
  readonly lease: string;
  /** Its gateway could not put it there, and told of it all the same. */
  readonly isStored: boolean;
}

interface Held extends Placement {
  readonly entry: PresenceEntry;
}

export interface ReconcileOptions {
  /** The gateway that compares; of its own entries it knows best. */
  readonly gateway: string;
  readonly nowMs: number;
  /** The entries of a lease that is not to be found are kept for this long. */
  readonly graceMs: number;
}

/**
 * One topic as this gateway knows it. Each step returns what changed for those who watch, and a step that is taken twice, or
 * comes late, changes nothing.
 */
export class Replica {
  readonly #held = new Map<string, Held>();
  /** Leases that have entries here and were not to be found, and since when. */
  readonly #missing = new Map<string, number>();
  /** How many were told without being stored. */
  #unstored = 0;
  #state: string | undefined;

  get size(): number {
    return this.#held.size;
  }

  /** Something in it stands on a word alone, or on a lease that is not to be found: it should be compared soon. */
  get isUnsettled(): boolean {
    return this.#unstored > 0 || this.#missing.size > 0;
  }

  /** The payload of `presence_state`. */
  state(): string {
    this.#state ??= stateText([...this.#held.values()].map(({ entry }) => entry));
    return this.#state;
  }

  put(entry: PresenceEntry, placement: Placement): PresenceDiff | undefined {
    const changes = new Changes();
    this.#put(entry, placement, changes);
    return this.#finish(changes);
  }

  remove(id: string): PresenceDiff | undefined {
    const changes = new Changes();
    this.#remove(id, changes);
    return this.#finish(changes);
  }

  /** The lease is dead. */
  forget(lease: string): PresenceDiff | undefined {
    const changes = new Changes();
    for (const held of this.#held.values()) if (held.lease === lease) this.#remove(held.entry.id, changes);
    return this.#finish(changes);
  }

  /** These are all entries of a gateway. */
  replace(gateway: string, entries: readonly PresenceEntry[], placement: Placement): PresenceDiff | undefined {
    const changes = new Changes();
    const ids = new Set(entries.map(({ id }) => id));
    for (const { entry } of this.#held.values()) {
      if (entry.gateway === gateway && !ids.has(entry.id)) this.#remove(entry.id, changes);
    }
    for (const entry of entries) this.#put(entry, placement, changes);
    return this.#finish(changes);
  }

  /** Makes it equal to what the store has, as far as the store can know. */
  reconcile(
    { entries, leases }: PresenceSnapshot,
    { gateway, nowMs, graceMs }: ReconcileOptions,
  ): PresenceDiff | undefined {
    const changes = new Changes();
    const stored = new Set(entries.map(({ entry }) => entry.id));
    const missing = new Set<string>();
    for (const held of this.#held.values()) {
      const { entry, lease, isStored } = held;
      if (entry.gateway === gateway || stored.has(entry.id)) continue;
      if (leases.has(lease)) {
        // Its gateway had it, and has it no more; or could not store it, and will when it can.
        if (isStored) this.#remove(entry.id, changes);
        continue;
      }
      // Dead, or its gateway has not come back to a store that was away: one lease later that is clear.
      missing.add(lease);
      const since = this.#missing.get(lease) ?? nowMs;
      this.#missing.set(lease, since);
      if (nowMs - since >= graceMs) this.#remove(entry.id, changes);
    }
    for (const lease of this.#missing.keys()) if (!missing.has(lease)) this.#missing.delete(lease);
    for (const { entry, lease } of entries) {
      if (entry.gateway !== gateway) this.#put(entry, { lease, isStored: true }, changes);
    }
    return this.#finish(changes);
  }

  #put(entry: PresenceEntry, placement: Placement, changes: Changes): void {
    const known = this.#held.get(entry.id);
    if (known !== undefined && known.entry.version > entry.version) return;
    // It stands under two leases for a moment, of which the former one ends: that is not the end of the entry.
    if (known?.entry.version === entry.version && sessionOf(known.lease) > sessionOf(placement.lease)) return;
    this.#held.set(entry.id, { lease: placement.lease, isStored: placement.isStored, entry });
    this.#unstored += Number(!placement.isStored) - Number(known?.isStored === false);
    changes.note(entry.id, known?.entry, entry);
  }

  #remove(id: string, changes: Changes): void {
    const known = this.#held.get(id);
    if (known === undefined) return;
    this.#held.delete(id);
    this.#unstored -= Number(!known.isStored);
    changes.note(id, known.entry, undefined);
  }

  #finish(changes: Changes): PresenceDiff | undefined {
    const diff = changes.diff();
    if (diff !== undefined) this.#state = undefined;
    return diff;
  }
}

/** Leases of one gateway are counted: `<gateway>.<n>` (lease-holder.ts). */
const sessionOf = (lease: string): number => Number(lease.slice(lease.lastIndexOf(".") + 1));

/** What one step does to each entry, from before it to after it: the store may hold an entry under two leases for a moment. */
class Changes {
  readonly #byId = new Map<string, { readonly before: PresenceEntry | undefined; after: PresenceEntry | undefined }>();

  note(id: string, before: PresenceEntry | undefined, after: PresenceEntry | undefined): void {
    const known = this.#byId.get(id);
    if (known === undefined) this.#byId.set(id, { before, after });
    else known.after = after;
  }

  diff(): PresenceDiff | undefined {
    const joins: PresenceEntry[] = [];
    const leaves: PresenceEntry[] = [];
    for (const { before, after } of this.#byId.values()) {
      if (before?.ref === after?.ref) continue; // entered again, under another lease
      if (before !== undefined) leaves.push(before);
      if (after !== undefined) joins.push(after);
    }
    return joins.length + leaves.length === 0 ? undefined : { joins, leaves };
  }
}
