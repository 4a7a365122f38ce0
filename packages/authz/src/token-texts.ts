import { unreachable } from "@walcast/model";
import type { TokenVerdict } from "./token.ts";

type Refusal = Exclude<TokenVerdict, { tag: "valid" }>;

const claimsMissing = "Fields `role` and `exp` are required in JWT";
const malformed = "The token provided is not a valid JWT";
const signatureInvalid = "Failed to validate JWT signature";
const noSigner = (kid: string | undefined): string =>
  kid === undefined
    ? "Failed to generate JWT signer, check your JWT secret or JWKS configuration"
    : `Failed to generate JWT signer for key ID (kid) "${kid}", check your JWT secret or JWKS configuration`;

/** The body of a refused upgrade (protocol.md 1.3). */
export function upgradeRefusal(verdict: Refusal): {
  readonly status: "401 Unauthorized" | "500 Internal Server Error";
  readonly text: string;
} {
  const unauthorized = (text: string) => ({ status: "401 Unauthorized" as const, text });
  switch (verdict.tag) {
    case "expired":
      return unauthorized("Token has expired");
    case "claimsMissing":
      return unauthorized(claimsMissing);
    case "malformed":
    case "expirationInvalid":
      return unauthorized(malformed);
    case "signatureInvalid":
      return unauthorized(signatureInvalid);
    case "noSigner":
      return unauthorized(noSigner(verdict.kid));
    case "claimMismatch":
    case "keysUnavailable": // not the client's fault: it comes back by itself, and meanwhile the keys may be there
      return { status: "500 Internal Server Error", text: "Error connecting to Realtime" };
    default:
      return unreachable(verdict);
  }
}

/** `response.reason` of a refused join (protocol.md 4.2). */
export function joinRefusal(verdict: Refusal): string {
  switch (verdict.tag) {
    case "expired":
      return `InvalidJWTToken: Token has expired ${verdict.secondsAgo} seconds ago`;
    case "claimsMissing":
      return `InvalidJWTToken: ${claimsMissing}`;
    case "expirationInvalid":
      return "InvalidJWTToken: Token expiration time is invalid";
    case "malformed":
      return `MalformedJWT: ${malformed}`;
    case "signatureInvalid":
      return `JwtSignatureError: ${signatureInvalid}`;
    case "noSigner":
    case "keysUnavailable":
      return `JwtSignerError: ${noSigner(verdict.kid)}`;
    case "claimMismatch":
      return "Unknown Error on Channel";
    default:
      return unreachable(verdict);
  }
}

/** The message with which a channel is shut down for its token (protocol.md 4.10). */
export function shutdownReason(verdict: Refusal): string {
  switch (verdict.tag) {
    case "expired":
      return `Token has expired ${verdict.secondsAgo} seconds ago`;
    case "claimsMissing":
      return claimsMissing;
    case "noSigner":
    case "keysUnavailable":
      return noSigner(verdict.kid);
    case "malformed":
    case "expirationInvalid":
    case "signatureInvalid":
    case "claimMismatch":
      return malformed;
    default:
      return unreachable(verdict);
  }
}
