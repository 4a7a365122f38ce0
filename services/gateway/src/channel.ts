import type { Group } from "./group.ts";
import type { Member } from "./member.ts";

/** One joined topic of one connection. */
export interface Channel {
  readonly topic: string;
  /** What frames about this channel carry; `undefined` for clients that send none (realtime-js 1.3.3). */
  readonly joinRef: unknown;
  readonly dialect: "current" | "legacy";
  /** The group it is a member of, once its subscription is live. */
  group: Group | undefined;
  /** Its place in the topic's room; legacy channels have none: they neither send nor get broadcasts (protocol.md 3.9). */
  readonly member?: Member | undefined;
  /** Fires when the channel ends for whatever reason: what was started for it stops. */
  readonly ended: AbortController;
  /** When its token has to be looked at again. */
  expiry: NodeJS.Timeout | undefined;
}

/** How a frame stands to the channel of its topic (protocol.md 8.1). */
export type Addressing = "current" | "stale" | "unmatched";

/** A leave with another join_ref than the channel's is about a former join of the topic; other pushes are taken anyway. */
export function addressing(channel: Channel | undefined, joinRef: unknown): Addressing {
  if (channel === undefined) return "unmatched";
  return joinRef === undefined || joinRef === null || joinRef === channel.joinRef ? "current" : "stale";
}
