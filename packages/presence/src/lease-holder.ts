import { setTimeout as delay } from "node:timers/promises";
import { PresenceLeaseLostError } from "./errors.ts";
import type { PlacedEntry, PresenceStore } from "./ports.ts";
import type { Placement } from "./replica.ts";

export interface LeaseHolderOptions {
  readonly store: PresenceStore;
  /** Unique for each start of a gateway. */
  readonly gateway: string;
  readonly leaseMs: number;
  /** All own entries are seen under a new lease: those who have not heard of them have to be told. */
  readonly onEntered: () => void;
  /** Entries of another gateway, which is dead, were removed: all have to be told. */
  readonly onSwept: (lease: string, topics: readonly string[]) => void;
  /** Told with each failure, and when it is over (undefined). */
  readonly onTrouble: (trouble: Error | undefined) => void;
  /** Resolves after a while, or when the signal fires; grows with each failure in a row. */
  readonly backoff: (failures: number, signal: AbortSignal) => Promise<void>;
}

/** Past the end of somebody's lease, so that it has ended when it is looked at. */
const sweepMarginMs = 5;

/**
 * Keeps the entries of this gateway in the store, for as long as it runs.
 *
 *     away ─lease opened─► entering ─all stored, renewed─► held ─renewal refused, or a failure─► away
 *
 * While it is away the entries are kept here, and entered again as they are then. What reached the store in doubt (a command
 * that got no answer) stands under a lease that is given up, and goes with it.
 */
export class LeaseHolder {
  readonly #options: LeaseHolderOptions;
  readonly #entries = new Map<string, PlacedEntry>();
  #sessions = 0;
  #lease: string;
  #isOpen = false;
  /** Rejects when a change could not be stored. */
  #session = Promise.withResolvers<never>();

  constructor(options: LeaseHolderOptions) {
    this.#options = options;
    this.#lease = `${options.gateway}.0`;
  }

  /** All that it holds. */
  get entries(): Iterable<PlacedEntry> {
    return this.#entries.values();
  }

  /** As entries stand that were put now. */
  get placement(): Placement {
    return { lease: this.#lease, isStored: this.#isOpen };
  }

  /** Resolves when the store has it, or as soon as it is clear that it has to wait; never rejects. */
  put(placed: PlacedEntry): Promise<Placement> {
    this.#entries.set(placed.entry.id, placed);
    return this.#write(async (store, lease) => {
      if ((await store.put(lease, [placed])) === "lost") throw new PresenceLeaseLostError(lease);
    });
  }

  /** As `put`. */
  remove(placed: PlacedEntry): Promise<Placement> {
    this.#entries.delete(placed.entry.id);
    return this.#write((store, lease) => store.remove(lease, placed));
  }

  async run(signal: AbortSignal): Promise<void> {
    const { store, onTrouble, backoff } = this.#options;
    for (let failures = 0; !signal.aborted; await backoff(failures, signal)) {
      try {
        await this.#enter();
        failures = 0;
        await this.#keep(signal);
      } catch (error) {
        failures++;
        this.#isOpen = false;
        if (!signal.aborted) onTrouble(error instanceof Error ? error : new Error(String(error)));
      }
    }
    this.#isOpen = false;
    await store.end(this.#lease).catch(() => undefined); // it ends by itself
  }

  async #enter(): Promise<void> {
    const { store, gateway, onEntered, onTrouble } = this.#options;
    const former = this.#lease;
    const lease = `${gateway}.${++this.#sessions}`;
    this.#session = Promise.withResolvers();
    this.#session.promise.catch(() => undefined); // looked at when there is time for it
    await store.open(lease);
    this.#lease = lease;
    this.#isOpen = true; // from here on changes follow what is entered, in the order of the calls
    const stored = await store.put(lease, [...this.#entries.values()]);
    if (stored === "lost" || (await store.renew(lease)) === "lost") throw new PresenceLeaseLostError(lease);
    // Before others are told: whoever compares then finds nothing any more of what was removed meanwhile.
    if (this.#sessions > 1) await store.end(former).catch(() => undefined); // it ends by itself
    onTrouble(undefined);
    onEntered();
  }

  /** Until the signal fires. Rejects when the lease is lost or the store is away. */
  async #keep(signal: AbortSignal): Promise<void> {
    const { store, leaseMs, onSwept } = this.#options;
    let nextMs: number | undefined;
    while (!signal.aborted) {
      await this.#wait(Math.min(leaseMs / 3, (nextMs ?? leaseMs) + sweepMarginMs), signal);
      if (signal.aborted) return;
      if ((await store.renew(this.#lease)) === "lost") throw new PresenceLeaseLostError(this.#lease);
      const sweep = await store.sweep();
      nextMs = sweep.nextMs;
      for (const { lease, topics } of sweep.swept) onSwept(lease, topics);
    }
  }

  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const waiting = delay(ms, undefined, { signal: AbortSignal.any([signal, over.signal]) });
    waiting.catch(() => undefined); // the signal
    try {
      await Promise.race([waiting, this.#session.promise]);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      over.abort();
    }
  }

  async #write(change: (store: PresenceStore, lease: string) => Promise<void>): Promise<Placement> {
    const placement = this.placement;
    if (!placement.isStored) return placement;
    try {
      await change(this.#options.store, placement.lease);
      return placement;
    } catch (error) {
      if (this.#lease === placement.lease) {
        this.#isOpen = false;
        this.#session.reject(error);
      }
      return { ...placement, isStored: false };
    }
  }
}
