import type { Claims } from "@walcast/authz";

/** As whom a question is asked. Equal keys are the same to every policy, so that one answer serves all who have it. */
export interface Principal {
  readonly role: string;
  /** JSON, as `request.jwt.claims` (protocol.md 5.6). */
  readonly claims: string;
  /** "" when the token names nobody. */
  readonly sub: string;
  /** JSON, as `request.headers`. */
  readonly headers: string;
  readonly key: string;
}

/** `headers`: those that policies may look at. Each distinct set of them is a principal of its own. */
export function principalOf(claims: Claims, headers: Readonly<Record<string, string>> = {}): Principal {
  const { role, sub } = claims;
  const parts = [role, JSON.stringify(claims), JSON.stringify(headers)] as const;
  return {
    role,
    claims: parts[1],
    sub: typeof sub === "string" ? sub : "",
    headers: parts[2],
    key: JSON.stringify(parts),
  };
}
