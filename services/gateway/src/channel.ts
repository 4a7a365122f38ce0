import type { Claims } from "@walcast/authz";
import type { Position } from "@walcast/model";
import type { AskedSnapshot } from "./channel-rows.ts";
import type { HeldJoin } from "./held-join.ts";
import type { Member } from "./member.ts";
import type { Membership } from "./membership.ts";
import type { PresenceMember } from "./presence-member.ts";
import type { TokenExpiry } from "./token-expiry.ts";

/** One joined topic of one connection. */
export interface Channel {
  readonly topic: string;
  /** What frames about this channel carry; `undefined` for clients that send none (realtime-js 1.3.3). */
  readonly joinRef: unknown;
  readonly dialect: "current" | "legacy";
  /** Its changes say when and by which transaction they were committed. */
  readonly hasMeta?: boolean | undefined;
  /** The rows it is to begin with. */
  readonly snapshot?: AskedSnapshot | undefined;
  /** It wants the changes after this position before those that come from now on. */
  resumeFrom?: Position | undefined;
  /** It is told why it gets a change or does not. */
  readonly isExplained?: boolean;
  /** What its token says; `undefined` when tokens are not verified. */
  claims: Claims | undefined;
  /** That token itself: clients of several versions send it again with every heartbeat. */
  token?: string;
  /** Its place among those who get changes, once it is subscribed. */
  membership: Membership | undefined;
  /** Its place in the topic's room; legacy channels have none: they neither send nor get broadcasts (protocol.md 3.9). */
  readonly member?: Member | undefined;
  /** Its part in the topic's presence; legacy channels have none either. */
  readonly presence?: PresenceMember | undefined;
  /** Its join, when that is answered only once it receives changes. */
  readonly held?: HeldJoin | undefined;
  /** Fires when the channel ends for whatever reason: what was started for it stops. */
  readonly ended: AbortController;
  /** Of its token, when tokens are verified. */
  readonly expiry: TokenExpiry;
}

/** How a frame stands to the channel of its topic (protocol.md 8.1). */
export type Addressing = "current" | "stale" | "unmatched";

/** A leave with another join_ref than the channel's is about a former join of the topic; other pushes are taken anyway. */
export function addressing(channel: Channel | undefined, joinRef: unknown): Addressing {
  if (channel === undefined) return "unmatched";
  return joinRef === undefined || joinRef === null || joinRef === channel.joinRef ? "current" : "stale";
}

/** From here on the channel is told what others say and who they are. */
export function beginMembers({ member, presence }: Channel): void {
  member?.begin();
  presence?.begin();
}
