import {
  base64url,
  createLocalJWKSet,
  errors,
  type CompactJWSHeaderParameters,
  type CryptoKey,
  type JSONWebKeySet,
  type JWK,
} from "jose";

export type VerificationKey = CryptoKey | Uint8Array;
export type TokenHeader = CompactJWSHeaderParameters;

/** Where the keys of asymmetric tokens, and of symmetric ones with a `kid`, are found. */
export interface KeySet {
  /** `undefined` when it has no key for this token. Throws KeysUnavailableError. */
  find(header: TokenHeader): Promise<VerificationKey | undefined>;
}

/** The keys of a set that is given once and for all. Its `oct` keys are for HS tokens that name them. */
export function inlineKeySet(jwks: JSONWebKeySet): KeySet {
  const publicKeys = createLocalJWKSet(jwks);
  return {
    async find(header) {
      return isSymmetric(header) ? findSecret(jwks.keys, header) : await orUndefined(publicKeys(header));
    },
  };
}

export const isSymmetric = ({ alg }: TokenHeader): boolean => alg.startsWith("HS");

/** A key that does not fit, is private, or is one of several that fit alike, is no key. */
export async function orUndefined<K extends VerificationKey>(key: Promise<K>): Promise<K | undefined> {
  try {
    return await key;
  } catch (error) {
    if (error instanceof errors.JOSEError) return undefined;
    throw error;
  }
}

/** jose's key sets are of public keys only, so that no set from the network can hold a secret. */
function findSecret(keys: readonly JWK[], { kid, alg }: TokenHeader): Uint8Array | undefined {
  if (kid === undefined) return undefined;
  const found = keys.find(
    (key) =>
      key.kty === "oct" &&
      key.kid === kid &&
      (key.alg === undefined || key.alg === alg) &&
      (key.use === undefined || key.use === "sig"),
  );
  return found?.k === undefined ? undefined : base64url.decode(found.k);
}
