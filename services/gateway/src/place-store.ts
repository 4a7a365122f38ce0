// Where the channels of clients with a `resume` parameter are, for the connection that comes after a lost one.

/** One channel of one resume id, and the connection that speaks for it. */
export interface Placement {
  /** The client's own choice. */
  readonly id: string;
  /** The connection. Only the last one that claimed a channel moves its place. */
  readonly holder: string;
  /** The channel and whose it is. */
  readonly channel: string;
}

export interface Claim extends Placement {
  /** A position: where the channel is when no place is known, or in any case. */
  readonly place: string;
  readonly unless: "known" | "never";
}

export type ClaimAnswer =
  /** It goes on from here. */
  | { readonly tag: "known"; readonly place: string }
  /** The claim's place has been noted. */
  | { readonly tag: "noted" }
  /** The id has as many channels as it may have: nothing is remembered of this one. */
  | { readonly tag: "full" };

export interface Notes extends Omit<Placement, "channel"> {
  readonly places: readonly Note[];
}

export interface Note {
  readonly channel: string;
  readonly place: string;
  /** `taken`: from whoever holds it; its claim did not get through. */
  readonly as: "held" | "taken";
}

/** What all gateways know of places. What is not noted again for `keepMs` is forgotten. */
export interface PlaceStore {
  /** Takes the channel over from whoever held it, in one step with finding or noting its place. */
  claim(claim: Claim): Promise<ClaimAnswer>;
  /** Moves places; those that others have claimed meanwhile stay. */
  note(notes: Notes): Promise<void>;
  /** Forgets the channel if this holder has it. */
  forget(placement: Placement): Promise<void>;
}

export interface PlaceStoreOptions {
  readonly keepMs: number;
  /** Channels of one id. */
  readonly channelsLimit?: number;
}

export const defaultChannelsLimit = 1_000;

/** Noted again after this long even when nothing changed, so that it is remembered for `rememberMs` at least. */
export const refreshMs = (rememberMs: number): number => rememberMs / 3;
export const keepMs = (rememberMs: number): number => Math.ceil(rememberMs + refreshMs(rememberMs));
