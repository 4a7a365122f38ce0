import { createHash, randomBytes } from "node:crypto";
import { formatPosition, parsePosition, type Position } from "@walcast/model";
import type { Channel } from "./channel.ts";
import { refreshMs, type Note, type PlaceStore } from "./place-store.ts";

export type PlacedChannel = Pick<Channel, "topic" | "claims" | "resumeFrom" | "ended"> & {
  readonly membership: { readonly place: Position | undefined } | undefined;
};

export interface ConnectionPlacesOptions {
  readonly id: string;
  readonly store: PlaceStore;
  readonly rememberMs: number;
  /** Sends a WebSocket ping behind everything that was sent so far; `ponged` is called with the client's answer. */
  readonly ping: (payload: string) => void;
  readonly everyMs?: number;
  readonly now?: () => number;
}

/** Where a channel begins. */
export type Beginning =
  | { readonly tag: "from"; readonly position: Position }
  | { readonly tag: "present" }
  /** At the present, although it may have been somewhere else before. */
  | { readonly tag: "unknown" };

interface Entry {
  key: string;
  claims: Channel["claims"];
  /** What the store has; `undefined`: it is not known whether it has anything. */
  noted: string | undefined;
  /** The client has got something that was sent after the channel began. */
  isConfirmed: boolean;
  notedMs: number;
}

/** So often it is asked what has arrived: the most that is sent twice. */
const pingEveryMs = 1_000;

/**
 * Remembers, for a client that keeps nothing itself, how far each of its channels was surely received. TCP keeps the order,
 * and every client answers pings by itself: what was sent before a ping has arrived when the pong comes. So the places at the
 * time of the ping are noted at its pong, and after a lost connection the client gets something twice rather than not at all.
 */
export class ConnectionPlaces {
  readonly #options: ConnectionPlacesOptions;
  readonly #now: () => number;
  readonly #holder = randomBytes(9).toString("base64url");
  readonly #entries = new Map<PlacedChannel, Entry>();
  readonly #timer: NodeJS.Timeout;
  #pings = 0;
  /** Sent and not answered: one at a time. */
  #asked: { readonly payload: string; readonly places: ReadonlyMap<PlacedChannel, string> } | undefined;
  #isNoting = false;

  constructor(options: ConnectionPlacesOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#timer = setInterval(() => this.#look(), options.everyMs ?? pingEveryMs);
    this.#timer.unref();
  }

  /**
   * Where the channel begins: where it wants to, else where it is known to be, else at the present. That place is stored when
   * this resolves: a client that is cut off right behind it loses nothing.
   */
  async begin(channel: PlacedChannel, present: Position): Promise<Beginning> {
    const { id, store } = this.#options;
    const { claims, resumeFrom } = channel;
    const entry: Entry = { key: keyOf(channel), claims, noted: undefined, isConfirmed: false, notedMs: this.#now() };
    const chosen: Beginning | undefined = resumeFrom && { tag: "from", position: resumeFrom };
    const place = formatPosition(resumeFrom ?? present);
    const unless = chosen === undefined ? "known" : "never";
    try {
      const answer = await store.claim({ id, holder: this.#holder, channel: entry.key, place, unless });
      if (answer.tag === "full") return chosen ?? { tag: "unknown" };
      this.#add(channel, { ...entry, noted: answer.tag === "known" ? answer.place : place });
      const known = answer.tag === "known" ? parsePosition(answer.place) : undefined;
      return chosen ?? (known === undefined ? { tag: "present" } : { tag: "from", position: known });
    } catch {
      // Told by the store; the place is noted as soon as that can be done.
      this.#add(channel, entry);
      return chosen ?? { tag: "unknown" };
    }
  }

  /** The client answered a ping. */
  ponged(payload: string): void {
    const asked = this.#asked;
    if (asked === undefined || asked.payload !== payload) return;
    this.#asked = undefined;
    const moved = new Map<Entry, string>();
    for (const [channel, place] of asked.places) {
      const entry = this.#entries.get(channel);
      if (entry === undefined) continue;
      entry.isConfirmed = true;
      if (entry.noted !== place) moved.set(entry, place);
    }
    void this.#note(moved);
  }

  /**
   * The client does not want the channel any more. One that has got nothing of it yet may have given its join up and try
   * again, as Phoenix's own client does when an answer takes long: that one is remembered.
   */
  left(channel: PlacedChannel): void {
    const entry = this.#entries.get(channel);
    this.ended(channel);
    if (entry?.isConfirmed !== true) return;
    const { id, store } = this.#options;
    store.forget({ id, holder: this.#holder, channel: entry.key }).catch(() => undefined); // told by the store
  }

  /** The channel has ended, and may come back. */
  ended(channel: PlacedChannel): void {
    this.#entries.delete(channel);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#entries.clear();
  }

  #add(channel: PlacedChannel, entry: Entry): void {
    if (!channel.ended.signal.aborted) this.#entries.set(channel, entry);
  }

  /** Asks what has arrived, where that would tell something new, and notes again what would be forgotten. */
  #look(): void {
    const nowMs = this.#now();
    const overdue = new Map<Entry, string>();
    const places = new Map<PlacedChannel, string>();
    for (const [channel, entry] of this.#entries) {
      if (channel.claims !== entry.claims) follow(channel, entry);
      const place = channel.membership?.place;
      if (place === undefined) continue;
      const text = formatPosition(place);
      if (text !== entry.noted || !entry.isConfirmed) places.set(channel, text);
      const isOverdue = nowMs - entry.notedMs >= refreshMs(this.#options.rememberMs);
      if (isOverdue && entry.noted !== undefined) overdue.set(entry, entry.noted);
    }
    if (this.#asked === undefined && places.size > 0) {
      const payload = String(++this.#pings);
      this.#asked = { payload, places };
      this.#options.ping(payload);
    }
    void this.#note(overdue);
  }

  /** What fails is tried again with the next pong. */
  async #note(places: ReadonlyMap<Entry, string>): Promise<void> {
    if (this.#isNoting || places.size === 0) return;
    this.#isNoting = true;
    const { id, store } = this.#options;
    const noting = [...places].map(([entry, place]) => ({ entry, key: entry.key, place }));
    const notes = noting.map(({ entry, key, place }): Note => ({
      channel: key,
      place,
      as: entry.noted === undefined ? "taken" : "held",
    }));
    try {
      await store.note({ id, holder: this.#holder, places: notes });
      for (const { entry, key, place } of noting) {
        if (entry.key === key) Object.assign(entry, { noted: place, notedMs: this.#now() });
      }
    } catch {
      // Told by the store.
    } finally {
      this.#isNoting = false;
    }
  }
}

/** A new token may be another user's, under whom the channel will come back. */
function follow(channel: PlacedChannel, entry: Entry): void {
  entry.claims = channel.claims;
  const key = keyOf(channel);
  if (key === entry.key) return;
  entry.key = key;
  entry.noted = undefined;
}

/** Of one topic and one user: nobody else who knows the id moves, or begins at, this place. */
function keyOf({ topic, claims }: PlacedChannel): string {
  const owner = claims === undefined ? [] : [claims.role, claims.sub ?? null];
  return createHash("sha256")
    .update(JSON.stringify([topic, ...owner]))
    .digest("base64url");
}
