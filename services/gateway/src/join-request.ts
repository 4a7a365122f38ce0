import type { Claims } from "@walcast/authz";
import type { JoinRequest } from "@walcast/protocol";
import { identify, legacyRequest, type IdentifiedRequest } from "./binding.ts";
import type { Rights } from "./channel-rights.ts";
import type { Replay } from "./replay.ts";

/** A join that was granted. */
export interface Join {
  readonly topic: string;
  readonly ref: unknown;
  readonly joinRef: unknown;
  readonly request: JoinRequest;
  readonly claims: Claims | undefined;
  readonly rights: Rights;
  readonly replay?: Replay | undefined;
}

/** The changes that a join asks for, and what its answer says of them. */
export function requested(
  topic: string,
  request: JoinRequest,
): { readonly requests: readonly IdentifiedRequest[]; readonly entries: readonly object[] } {
  if (request.tag === "legacy") {
    const { identified, replyEntry } = legacyRequest(topic);
    return { requests: [identified], entries: [replyEntry] };
  }
  const requests = identify(request.postgresChanges);
  // Each entry goes back as it came, plus its id: clients compare (protocol.md 4.3).
  return { requests, entries: requests.map(({ id, request: given }) => ({ ...given, id })) };
}

/** A hole must not be hidden: what names a place that is none is not joined. */
export function additionRefusal({ resume, snapshot }: JoinRequest): { limit: undefined; reason: string } | undefined {
  if (resume.tag === "invalid") {
    return {
      limit: undefined,
      reason: `InvalidResumePosition: ${resume.given} is no position such as "1.0/16B3748.3"; join without it and read the rows again`,
    };
  }
  if (snapshot.tag === "invalid") return { limit: undefined, reason: `InvalidSnapshot: ${snapshot.problem}` };
  return undefined;
}
