import type { Claims } from "@walcast/authz";

/** What may be done with one kind of message of a channel. */
export interface Access {
  readonly read: boolean;
  readonly write: boolean;
}

/** What a token may do in a private channel (protocol.md 5.6). */
export interface Rights {
  readonly broadcast: Access;
  readonly presence: Access;
}

export interface RightsRequest {
  readonly subtopic: string;
  /** `undefined` when tokens are not verified. */
  readonly claims: Claims | undefined;
  /** The connection's `x-*` headers, for policies that look at `request.headers`. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** The policies could not be asked; the message is what a join is told (protocol.md 4.2). */
export class ChannelRightsError extends Error {
  readonly code = "CHANNEL_RIGHTS";
}

/**
 * The seam to the policies of private channels: asked at a join, for each new token of a channel, and for each private topic
 * of an HTTP request. Public channels need nothing but a valid token and are never asked about. It rejects when it cannot tell.
 */
export type ChannelRights = (request: RightsRequest) => Promise<Rights>;

const full: Access = { read: true, write: true };
export const allRights: Rights = { broadcast: full, presence: full };
