import type { PlacedEntry, PresenceEntry, PresenceSnapshot, PresenceStore, Sweep } from "./ports.ts";

interface Lease {
  isSeen: boolean;
  endsMs: number;
  readonly topics: Map<string, Map<string, PresenceEntry>>;
}

export interface MemoryPresenceOptions {
  readonly leaseMs: number;
  readonly now?: () => number;
}

/** The store inside one process, for standalone and tests. Several gateways may share it. */
export class MemoryPresenceStore implements PresenceStore {
  readonly #options: MemoryPresenceOptions;
  readonly #leases = new Map<string, Lease>();

  constructor(options: MemoryPresenceOptions) {
    this.#options = options;
  }

  open(lease: string): Promise<void> {
    this.#leases.set(lease, { isSeen: false, endsMs: this.#end(), topics: new Map() });
    return Promise.resolve();
  }

  renew(name: string): Promise<"renewed" | "lost"> {
    const lease = this.#standing(name);
    if (lease === undefined) return Promise.resolve("lost");
    lease.isSeen = true;
    lease.endsMs = this.#end();
    return Promise.resolve("renewed");
  }

  put(name: string, entries: readonly PlacedEntry[]): Promise<"stored" | "lost"> {
    const lease = this.#standing(name);
    if (lease === undefined) return Promise.resolve("lost");
    for (const { topic, entry } of entries) {
      const known = lease.topics.get(topic) ?? new Map<string, PresenceEntry>();
      lease.topics.set(topic, known.set(entry.id, entry));
    }
    return Promise.resolve("stored");
  }

  remove(name: string, { topic, entry }: PlacedEntry): Promise<void> {
    const topics = this.#standing(name)?.topics;
    const known = topics?.get(topic);
    known?.delete(entry.id);
    if (known?.size === 0) topics?.delete(topic);
    return Promise.resolve();
  }

  snapshot(topic: string): Promise<PresenceSnapshot> {
    const seen = [...this.#leases].filter(([name, { isSeen }]) => isSeen && this.#standing(name) !== undefined);
    return Promise.resolve({
      leases: new Set(seen.map(([lease]) => lease)),
      entries: seen.flatMap(([lease, { topics }]) =>
        [...(topics.get(topic)?.values() ?? [])].map((entry) => ({ lease, entry })),
      ),
    });
  }

  sweep(): Promise<Sweep> {
    const dead = [...this.#leases].filter(([name]) => this.#standing(name) === undefined);
    for (const [name] of dead) this.#leases.delete(name);
    const ends = [...this.#leases.values()].map(({ endsMs }) => endsMs);
    return Promise.resolve({
      swept: dead.map(([lease, { topics }]) => ({ lease, topics: [...topics.keys()] })),
      nextMs: ends.length === 0 ? undefined : Math.min(...ends) - this.#now(),
    });
  }

  end(lease: string): Promise<void> {
    this.#leases.delete(lease);
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #standing(name: string): Lease | undefined {
    const lease = this.#leases.get(name);
    return lease !== undefined && lease.endsMs > this.#now() ? lease : undefined;
  }

  #now = (): number => (this.#options.now ?? (() => performance.now()))();
  #end = (): number => this.#now() + this.#options.leaseMs;
}
