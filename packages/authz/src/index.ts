export { joinRefusal, shutdownReason, upgradeRefusal } from "./token-texts.ts";
export {
  createTokenVerifier,
  type Claims,
  type TokenVerdict,
  type TokenVerifier,
  type TokenVerifierOptions,
} from "./token.ts";
