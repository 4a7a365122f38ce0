import { apiKeyPrefix } from "./api-keys.ts";
import type { TokenVerdict, TokenVerifier } from "./token.ts";

type Valid = Extract<TokenVerdict, { readonly tag: "valid" }>;

export interface CachedVerifierOptions {
  /** What is remembered is looked at anew after this long at the latest. */
  readonly maxAgeMs?: number;
  /** So many tokens are remembered; those that nobody has shown for the longest time are forgotten first. */
  readonly limit?: number;
  /** In milliseconds since 1970. */
  readonly now?: () => number;
}

/** A verifier that remembers which tokens were valid. */
export interface CachedVerifier {
  readonly verify: TokenVerifier;
  /** The keys are others now: no former verdict counts any more. */
  readonly forget: () => void;
}

/** Longer ones are verified each time, so that what is remembered stays below 32 MiB. */
const rememberedLengthLimit = 8_192;

/**
 * Every client shows its token at least twice, for its connection and for each channel, and the second time costs as much as
 * the first: more than everything else a join does. Only what was valid is remembered, never beyond the token's end, so that
 * what anybody can make up takes no memory; equal tokens that come at the same time are verified once. Opaque keys are
 * compared in constant time each time.
 */
export function cachedVerifier(verify: TokenVerifier, options: CachedVerifierOptions = {}): CachedVerifier {
  const { maxAgeMs = 60_000, limit = 4_096, now = Date.now } = options;
  /** The one shown last at the end. */
  const known = new Map<string, { readonly verdict: Promise<Valid>; readonly untilMs: number }>();
  const underWay = new Map<string, Promise<TokenVerdict>>();

  const remember = (token: string, verdict: TokenVerdict): void => {
    if (verdict.tag !== "valid") return;
    known.set(token, {
      verdict: Promise.resolve(verdict),
      untilMs: Math.min(now() + maxAgeMs, verdict.expiresAtMs),
    });
    const [oldest] = known.keys();
    if (known.size > limit && oldest !== undefined) known.delete(oldest);
  };

  const ask = (token: string): Promise<TokenVerdict> => {
    const asked = verify(token).then(
      (verdict) => {
        // What was begun with former keys may be answered, but not remembered.
        if (underWay.get(token) === asked) {
          underWay.delete(token);
          remember(token, verdict);
        }
        return verdict;
      },
      (error: unknown) => {
        if (underWay.get(token) === asked) underWay.delete(token);
        throw error;
      },
    );
    underWay.set(token, asked);
    return asked;
  };

  return {
    verify: (token) => {
      if (token.length > rememberedLengthLimit || token.startsWith(apiKeyPrefix)) return verify(token);
      const entry = known.get(token);
      if (entry === undefined) return underWay.get(token) ?? ask(token);
      known.delete(token);
      if (now() >= entry.untilMs) return underWay.get(token) ?? ask(token);
      known.set(token, entry);
      return entry.verdict;
    },
    forget: () => {
      known.clear();
      underWay.clear();
    },
  };
}
