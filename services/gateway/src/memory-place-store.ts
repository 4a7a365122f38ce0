import {
  defaultChannelsLimit,
  type Claim,
  type ClaimAnswer,
  type Notes,
  type Placement,
  type PlaceStore,
  type PlaceStoreOptions,
} from "./place-store.ts";

interface Held {
  readonly holder: string;
  readonly place: string;
  readonly notedMs: number;
}

export interface MemoryPlaceStoreOptions extends PlaceStoreOptions {
  /** Beyond this many the one that was noted longest ago is forgotten. */
  readonly idsLimit?: number;
  readonly now?: () => number;
}

/** The store of one process, for standalone and for a gateway without Redis. */
export class MemoryPlaceStore implements PlaceStore {
  readonly #options: Required<MemoryPlaceStoreOptions>;
  /** By id, the one that was noted last at the end; then by channel. */
  readonly #ids = new Map<string, Map<string, Held>>();

  constructor(options: MemoryPlaceStoreOptions) {
    const now = (): number => performance.now();
    this.#options = { channelsLimit: defaultChannelsLimit, idsLimit: 100_000, now, ...options };
  }

  claim({ id, holder, channel, place, unless }: Claim): Promise<ClaimAnswer> {
    const channels = this.#channels(id);
    const held = channels.get(channel);
    if (held === undefined && channels.size >= this.#options.channelsLimit) return Promise.resolve({ tag: "full" });
    const known = unless === "known" ? held?.place : undefined;
    channels.set(channel, { holder, place: known ?? place, notedMs: this.#options.now() });
    return Promise.resolve(known === undefined ? { tag: "noted" } : { tag: "known", place: known });
  }

  note({ id, holder, places }: Notes): Promise<void> {
    const channels = this.#channels(id);
    for (const { channel, place, as } of places) {
      const other = channels.get(channel)?.holder ?? holder;
      if (other === holder || as === "taken") channels.set(channel, { holder, place, notedMs: this.#options.now() });
    }
    return Promise.resolve();
  }

  forget({ id, holder, channel }: Placement): Promise<void> {
    const channels = this.#ids.get(id);
    if (channels?.get(channel)?.holder === holder) channels.delete(channel);
    if (channels?.size === 0) this.#ids.delete(id);
    return Promise.resolve();
  }

  /** Without those that are forgotten by now. */
  #channels(id: string): Map<string, Held> {
    const sinceMs = this.#options.now() - this.#options.keepMs;
    const channels = this.#ids.get(id) ?? new Map<string, Held>();
    for (const [channel, { notedMs }] of channels) if (notedMs < sinceMs) channels.delete(channel);
    this.#ids.delete(id);
    this.#ids.set(id, channels);
    this.#dropOldest(sinceMs);
    return channels;
  }

  #dropOldest(sinceMs: number): void {
    for (const [id, channels] of this.#ids) {
      const isForgotten = [...channels.values()].every(({ notedMs }) => notedMs < sinceMs);
      const isLast = this.#ids.size === 1;
      if (isLast || (!isForgotten && this.#ids.size <= this.#options.idsLimit)) return;
      this.#ids.delete(id);
    }
  }
}
