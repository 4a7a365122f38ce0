import type { Limit, Limits } from "./limits.ts";

/** Codes before the text of a limit that refuses a join (protocol.md 4.2). */
const codes = {
  users: "ConnectionRateLimitReached",
  joins: "ClientJoinRateLimitReached",
  channels: "ChannelRateLimitReached",
} as const satisfies Partial<Record<Limit, string>>;
type JoinLimit = keyof typeof codes;

/** A connection that wants one more channel. */
export interface JoiningConnection {
  readonly channels: number;
  /** The topic is joined already: the new channel takes the place of that. */
  readonly isRejoin: boolean;
}

/** The limit that keeps a join out, in the order of the peer's checks; `reason` is what the client is told. */
export function joinRefusedBy(
  limits: Limits,
  connection: JoiningConnection,
): { readonly limit: JoinLimit; readonly reason: string } | undefined {
  const limit = find(limits, connection);
  return limit === undefined ? undefined : { limit, reason: `${codes[limit]}: ${limits.exceeded(limit)}` };
}

function find(limits: Limits, { channels, isRejoin }: JoiningConnection): JoinLimit | undefined {
  if (channels === 0 && limits.isOver("users")) return "users";
  if (limits.isOver("joins")) return "joins";
  return !isRejoin && limits.isFull("channels", channels) ? "channels" : undefined;
}
