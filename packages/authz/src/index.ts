export { cachedVerifier, type CachedVerifier, type CachedVerifierOptions } from "./cached-verifier.ts";
export { JwtKeysMissingError, KeysUnavailableError } from "./errors.ts";
export { inlineKeySet, type KeySet } from "./key-set.ts";
export { RemoteKeySet, type RemoteKeySetOptions } from "./remote-key-set.ts";
export {
  openTokenVerifier,
  tokenSettings,
  type Hidden,
  type TokenConfig,
  type TokenVerifierParts,
} from "./settings.ts";
export { joinRefusal, shutdownReason, upgradeRefusal } from "./token-texts.ts";
export {
  createTokenVerifier,
  type Claims,
  type TokenVerdict,
  type TokenVerifier,
  type TokenVerifierOptions,
} from "./token.ts";
