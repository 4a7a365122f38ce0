import { webcrypto } from "node:crypto";
import { compactVerify, decodeProtectedHeader, errors, type JWTPayload } from "jose";
import { ApiKeys, apiKeyPrefix } from "./api-keys.ts";
import { KeysUnavailableError } from "./errors.ts";
import { parseExactly } from "./exact-json.ts";
import { isSymmetric, type KeySet, type TokenHeader, type VerificationKey } from "./key-set.ts";

/** What a verified token says. */
export interface Claims extends JWTPayload {
  readonly role: string;
  readonly exp: number;
}

/** What looking at a token found. Texts for clients are made from it at the edges (protocol.md 1.3, 4.2). */
export type TokenVerdict =
  /** `expiresAtMs`: Unix time from which it is not valid any more, clock tolerance included. */
  | { readonly tag: "valid"; readonly claims: Claims; readonly expiresAtMs: number }
  | { readonly tag: "expired"; readonly secondsAgo: number }
  /** `role` or `exp` is not there. */
  | { readonly tag: "claimsMissing" }
  | { readonly tag: "expirationInvalid" }
  | { readonly tag: "malformed" }
  | { readonly tag: "signatureInvalid" }
  /** No key for the token's algorithm. */
  | { readonly tag: "noSigner"; readonly kid: string | undefined }
  /** There may be a key, but the key set could not be fetched so far. */
  | { readonly tag: "keysUnavailable"; readonly kid: string | undefined }
  /** JWT_CLAIM_VALIDATORS asks for another value. */
  | { readonly tag: "claimMismatch"; readonly claim: string };

export interface TokenVerifierOptions {
  /** Of HS tokens; `undefined`: only the key set's. */
  readonly secret?: string | undefined;
  /** Of all other tokens, and of HS tokens that name one of its `oct` keys. */
  readonly keySet?: KeySet | undefined;
  /** Opaque keys that begin with `sb_`, each with the role, or the token, that it stands for. */
  readonly apiKeys?: Readonly<Record<string, string>>;
  /** Claims that must have exactly these values. */
  readonly claimValidators: Readonly<Record<string, unknown>>;
  /** A token is valid for this long after its `exp`. */
  readonly clockToleranceSeconds?: number;
  readonly now?: () => Date;
}

export type TokenVerifier = (token: string) => Promise<TokenVerdict>;

/** Exactly these (protocol.md 1.4); Ed448, which jose does not know, aside. `none` is never among them. */
const algorithms = ["HS", "RS", "ES"]
  .flatMap((family) => ["256", "384", "512"].map((bits) => `${family}${bits}`))
  .concat("EdDSA", "Ed25519");

/** Claims go to PostgreSQL with every question: a token of any size would make the questions that large. */
const tokenLimit = 65_536;

/** The last second of the year 9999: what stands for a role does not expire. */
const never = 253_402_300_799;

/** Verifies tokens (protocol.md 1.4): the key first, then signature, time, claims. */
export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  const secret = options.secret === undefined ? undefined : importSecret(options.secret);
  const apiKeys = new ApiKeys(options.apiKeys ?? {});

  const verify = async (token: string): Promise<TokenVerdict> => {
    const header = readHeader(token);
    if (header === undefined) return { tag: "malformed" };
    if (!algorithms.includes(header.alg)) return { tag: "noSigner", kid: header.kid };
    try {
      const key = await findKey(header, { secret, keySet: options.keySet });
      if (key === undefined) return { tag: "noSigner", kid: header.kid };
      const { payload } = await compactVerify(token, key, { algorithms });
      return judge(parseExactly(new TextDecoder("utf-8", { fatal: true }).decode(payload)), options);
    } catch (error) {
      if (error instanceof KeysUnavailableError) return { tag: "keysUnavailable", kid: header.kid };
      if (error instanceof errors.JWSSignatureVerificationFailed) return { tag: "signatureInvalid" };
      return { tag: "malformed" };
    }
  };

  return async (given) => {
    const token = cleanToken(given);
    if (token.length > tokenLimit) return { tag: "malformed" };
    if (!token.startsWith(apiKeyPrefix)) return await verify(token);
    const standsFor = apiKeys.find(token);
    if (standsFor === undefined) return { tag: "malformed" };
    if (readHeader(standsFor) !== undefined) return await verify(standsFor);
    return { tag: "valid", claims: { role: standsFor, exp: never }, expiresAtMs: never * 1000 };
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

function readHeader(token: string): TokenHeader | undefined {
  if (token.split(".").length !== 3) return undefined;
  try {
    const { alg, kid, ...header } = decodeProtectedHeader(token);
    if (typeof alg !== "string" || (kid !== undefined && typeof kid !== "string")) return undefined;
    return { ...header, alg, ...(kid === undefined ? {} : { kid }) };
  } catch {
    return undefined;
  }
}

/**
 * The algorithm family alone decides which kind of key may be used: a public key is never the secret of an HS token. A `kid`
 * that names no `oct` key does not keep an HS token from the shared secret (protocol.md 1.4).
 */
async function findKey(
  header: TokenHeader,
  { secret, keySet }: { readonly secret: SecretKeys | undefined; readonly keySet: KeySet | undefined },
): Promise<VerificationKey | undefined> {
  const found = await keySet?.find(header);
  return found ?? (isSymmetric(header) ? await secret?.(header.alg) : undefined);
}

type SecretKeys = (alg: string) => Promise<VerificationKey>;

/** Once for each of the three algorithms: jose imports a key that is given as bytes anew for every token. */
function importSecret(text: string): SecretKeys {
  const bytes = new TextEncoder().encode(text);
  const keys = new Map<string, Promise<VerificationKey>>();
  return (alg) => {
    const known = keys.get(alg);
    if (known !== undefined) return known;
    const algorithm = { name: "HMAC", hash: alg.replace("HS", "SHA-") };
    const key = webcrypto.subtle.importKey("raw", bytes, algorithm, false, ["verify"]);
    keys.set(alg, key);
    return key;
  };
}

/** `nbf`, `iss` and `aud` are looked at only where JWT_CLAIM_VALIDATORS says so (protocol.md 1.4). */
function judge(payload: unknown, options: TokenVerifierOptions): TokenVerdict {
  if (typeof payload !== "object" || payload === null || Array.isArray(payload)) return { tag: "malformed" };
  const { role, exp, iat } = payload as JWTPayload & { readonly role?: unknown };
  if (iat !== undefined && typeof iat !== "number") return { tag: "expirationInvalid" };
  const expiry = exp === undefined ? undefined : expiryOf(exp, options);
  if (expiry !== undefined && expiry.tag !== "valid") return expiry;
  if (typeof role !== "string" || expiry === undefined) return { tag: "claimsMissing" };
  for (const [claim, wanted] of Object.entries(options.claimValidators)) {
    const given = (payload as JWTPayload)[claim];
    if (JSON.stringify(given) !== JSON.stringify(wanted)) return { tag: "claimMismatch", claim };
  }
  return { tag: "valid", claims: { ...payload, role, exp: expiry.exp }, expiresAtMs: expiry.expiresAtMs };
}

type Expiry =
  | { readonly tag: "valid"; readonly exp: number; readonly expiresAtMs: number }
  | Extract<TokenVerdict, { readonly tag: "expired" | "expirationInvalid" }>;

/** Decimals are rounded (protocol.md 1.4). */
function expiryOf(given: unknown, { clockToleranceSeconds = 0, now }: TokenVerifierOptions): Expiry {
  if (typeof given !== "number" || !Number.isFinite(given)) return { tag: "expirationInvalid" };
  const exp = Math.round(given);
  const nowMs = (now?.() ?? new Date()).getTime();
  const expiresAtMs = (exp + clockToleranceSeconds) * 1000;
  if (nowMs < expiresAtMs) return { tag: "valid", exp, expiresAtMs };
  return { tag: "expired", secondsAgo: Math.max(0, Math.round(nowMs / 1000 - exp)) };
}
