import type { JoinRequest, Serializer } from "@walcast/protocol";
import type { Broadcaster } from "./broadcaster.ts";
import type { Channel } from "./channel.ts";
import type { Rights } from "./channel-rights.ts";
import type { Limits } from "./limits.ts";
import { Member, type MemberSocket } from "./member.ts";
import type { Presence } from "./presence.ts";
import { PresenceMember } from "./presence-member.ts";
import type { Readiness } from "./readiness.ts";
import type { Replay } from "./replay.ts";

/** What holds for every channel. */
export interface ChannelRules {
  /** Channels take part in presence without asking. */
  readonly isPresenceEnabled: boolean;
  /** Of broadcasts and of what is tracked. */
  readonly payloadLimitBytes: number;
  /** A refused join is answered after this long. */
  readonly errorBackoffMs: number;
  /** A token ends this long after its `exp`. */
  readonly clockToleranceMs: number;
}

export interface MembersParts {
  readonly broadcaster: Broadcaster;
  readonly readiness: Readiness;
  readonly presence: Presence;
  readonly limits: Limits;
  readonly rules: ChannelRules;
  readonly socket: MemberSocket;
  readonly serializer: Serializer;
}

export interface MembersRequest {
  readonly topic: string;
  readonly joinRef: unknown;
  readonly request: JoinRequest;
  readonly rights: Rights;
  readonly replay?: Replay | undefined;
  /** To this channel's client alone. */
  readonly send: (frame: string | Uint8Array) => void;
  /** Ends the channel. */
  readonly end: (reason: string) => void;
}

/** What a current channel is beside a receiver of changes; legacy ones are nothing else (protocol.md 3.9). */
export function membersOf(
  { topic, joinRef, request, rights, replay, send, end }: MembersRequest,
  { broadcaster, readiness, presence, limits, rules, socket, serializer }: MembersParts,
): Pick<Channel, "member" | "presence"> {
  if (request.tag === "legacy") return {};
  const common = { address: { topic, isPrivate: request.isPrivate }, rights, serializer, socket };
  const wants = { ...request.presence, isEnabled: request.presence.isEnabled || rules.isPresenceEnabled };
  return {
    member: new Member({ ...common, wants: request.broadcast, broadcaster, readiness, joinRef, replay, send, end }),
    presence: new PresenceMember({ ...common, ...rules, wants, presence, limits, joinRef, send }),
  };
}
