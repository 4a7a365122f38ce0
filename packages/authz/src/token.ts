import { decodeProtectedHeader, errors, jwtVerify, type JWTPayload } from "jose";

/** What a verified token says. */
export interface Claims extends JWTPayload {
  readonly role: string;
  readonly exp: number;
}

/** What looking at a token found. Texts for clients are made from it at the edges (protocol.md 1.3, 4.2). */
export type TokenVerdict =
  | { readonly tag: "valid"; readonly claims: Claims }
  | { readonly tag: "expired"; readonly secondsAgo: number }
  /** `role` or `exp` is not there. */
  | { readonly tag: "claimsMissing" }
  | { readonly tag: "expirationInvalid" }
  | { readonly tag: "malformed" }
  | { readonly tag: "signatureInvalid" }
  /** No key for the token's algorithm. */
  | { readonly tag: "noSigner"; readonly kid: string | undefined }
  /** JWT_CLAIM_VALIDATORS asks for another value. */
  | { readonly tag: "claimMismatch"; readonly claim: string };

export interface TokenVerifierOptions {
  readonly secret: string;
  /** Claims that must have exactly these values. */
  readonly claimValidators: Readonly<Record<string, unknown>>;
  readonly now?: () => Date;
}

export type TokenVerifier = (token: string) => Promise<TokenVerdict>;

const algorithms = ["HS256", "HS384", "HS512"];

/** Verifies tokens signed with the shared secret (protocol.md 1.4): signature first, then time, then claims. */
export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  const key = new TextEncoder().encode(options.secret);
  const now = options.now ?? ((): Date => new Date());
  return async (given) => {
    const token = cleanToken(given);
    const header = readHeader(token);
    if (header === undefined) return { tag: "malformed" };
    if (header.alg === undefined || !algorithms.includes(header.alg)) return { tag: "noSigner", kid: header.kid };
    try {
      const { payload } = await jwtVerify(token, key, { algorithms, currentDate: now() });
      return judgeClaims(payload, options.claimValidators);
    } catch (error) {
      return verdictOf(error, now());
    }
  };
}

/** URI-decoded, without white space; a token that is no URI component stays as it is. */
function cleanToken(token: string): string {
  try {
    return decodeURIComponent(token).replaceAll(/\s/gu, "");
  } catch {
    return token.replaceAll(/\s/gu, "");
  }
}

function readHeader(token: string): ReturnType<typeof decodeProtectedHeader> | undefined {
  if (token.split(".").length !== 3) return undefined;
  try {
    return decodeProtectedHeader(token);
  } catch {
    return undefined;
  }
}

function judgeClaims(payload: JWTPayload, validators: Readonly<Record<string, unknown>>): TokenVerdict {
  const { role, exp } = payload;
  if (typeof role !== "string" || exp === undefined) return { tag: "claimsMissing" };
  for (const [claim, wanted] of Object.entries(validators)) {
    if (JSON.stringify(payload[claim]) !== JSON.stringify(wanted)) return { tag: "claimMismatch", claim };
  }
  return { tag: "valid", claims: { ...payload, role, exp: Math.round(exp) } };
}

function verdictOf(error: unknown, now: Date): TokenVerdict {
  if (error instanceof errors.JWTExpired) {
    return { tag: "expired", secondsAgo: Math.max(0, Math.round(now.getTime() / 1000 - (error.payload.exp ?? 0))) };
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) return { tag: "signatureInvalid" };
  if (error instanceof errors.JWTClaimValidationFailed) return { tag: "expirationInvalid" };
  return { tag: "malformed" };
}
