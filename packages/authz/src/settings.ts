import { integer, json, secret, z, type Config, type Setting } from "@walcast/config";
import type { JSONWebKeySet } from "jose";
import { cachedVerifier } from "./cached-verifier.ts";
import { JwtKeysMissingError, type KeysUnavailableError } from "./errors.ts";
import { inlineKeySet, type KeySet } from "./key-set.ts";
import { RemoteKeySet } from "./remote-key-set.ts";
import { createTokenVerifier, type TokenVerifier } from "./token.ts";

const keySetShape = z.looseObject({ keys: z.array(z.looseObject({ kty: z.string() })) });

/** How tokens are verified, under Supabase's names where it has them (protocol.md 1.4, 5.8). */
export const tokenSettings = {
  JWT_SECRET: secret("Shared secret of HS256, HS384 and HS512 tokens."),
  JWT_JWKS: secretJson(
    "Keys of RS, ES and EdDSA tokens, and `oct` keys of HS tokens that name them, as a JSON Web Key Set.",
    keySetShape as z.ZodType<JSONWebKeySet>,
  ),
  JWT_JWKS_URL: urlSetting("Where a JSON Web Key Set is fetched; keys once seen serve on while it does not answer."),
  JWT_JWKS_MAX_AGE_MS: integer("Keys older than this are fetched anew in the background.", {
    default: 600_000,
    min: 1_000,
    unit: "ms",
  }),
  JWT_JWKS_COOLDOWN_MS: integer("A `kid` nobody knows makes the keys be fetched anew, at most this often.", {
    default: 30_000,
    unit: "ms",
  }),
  JWT_CLAIM_VALIDATORS: json("Claims that tokens must have, with their values, as a JSON object.", {
    shape: z.record(z.string(), z.unknown()),
    default: "{}",
  }),
  JWT_CLOCK_TOLERANCE_S: integer("A token is valid for this long after its `exp`.", {
    default: 0,
    max: 600,
    unit: "s",
  }),
  API_KEYS: secretJson(
    'Opaque API keys, each with the role or the token it stands for, as a JSON object: `{"sb_publishable_…":"anon"}`.',
    z.record(z.string().startsWith("sb_", { error: "keys must begin with sb_" }), z.string().min(1)),
  ),
};

export type TokenConfig = Config<typeof tokenSettings>;

export interface TokenVerifierParts {
  /** Told when JWT_JWKS_URL cannot be fetched, and when it can again (undefined). */
  readonly onTrouble?: (trouble: KeysUnavailableError | undefined) => void;
}

/**
 * The verifier that the settings describe, which remembers valid tokens for a while. Of JWT_JWKS and JWT_JWKS_URL the first is asked first. The URL is fetched at once,
 * without waiting for it. Throws JwtKeysMissingError.
 */
export function openTokenVerifier(config: TokenConfig, { onTrouble }: TokenVerifierParts = {}): TokenVerifier {
  const sets: KeySet[] = [];
  if (config.JWT_JWKS !== undefined) sets.push(inlineKeySet(config.JWT_JWKS.reveal()));
  if (config.JWT_JWKS_URL !== undefined) {
    const remote = new RemoteKeySet({
      url: config.JWT_JWKS_URL,
      maxAgeMs: config.JWT_JWKS_MAX_AGE_MS,
      cooldownMs: config.JWT_JWKS_COOLDOWN_MS,
      onFetched: () => verifier.forget(),
      ...(onTrouble === undefined ? {} : { onTrouble }),
    });
    remote.load().catch(() => undefined); // onTrouble heard of it; the first token that needs the keys asks again
    sets.push(remote);
  }
  const secret = config.JWT_SECRET?.reveal();
  if (secret === undefined && sets.length === 0) throw new JwtKeysMissingError();
  const verifier = cachedVerifier(
    createTokenVerifier({
      secret,
      keySet: sets.length === 0 ? undefined : firstOf(sets),
      apiKeys: config.API_KEYS?.reveal() ?? {},
      claimValidators: config.JWT_CLAIM_VALIDATORS,
      clockToleranceSeconds: config.JWT_CLOCK_TOLERANCE_S,
    }),
  );
  return verifier.verify;
}

const firstOf = (sets: readonly KeySet[]): KeySet => ({
  async find(header) {
    for (const set of sets) {
      const key = await set.find(header);
      if (key !== undefined) return key;
    }
    return undefined;
  },
});

/** What a setting holds and no log may show. */
export interface Hidden<T> {
  reveal(): T;
}

/** As config's `json`, for what must not be printed: also not when it is wrong. */
function secretJson<T>(description: string, shape: z.ZodType<T>): Setting<Hidden<T> | undefined> {
  const schema = z
    .string()
    .optional()
    .transform((text, context): Hidden<T> | undefined => {
      if (text === undefined || text === "") return undefined;
      const parsed = shape.safeParse(parseJson(text));
      if (parsed.success) return { reveal: () => parsed.data };
      const places = parsed.error.issues.map(({ message, path }) => `${placeOf(path)}${message}`);
      context.addIssue({ code: "custom", message: `must be JSON as described: ${places.join("; ")}` });
      return z.NEVER;
    });
  return { schema, description, shownDefault: "–", isSecret: true };
}

/** Keys of an object may be secrets themselves: only places in lists are told. */
const placeOf = (path: readonly PropertyKey[]): string => {
  const [index] = path.filter((part) => typeof part === "number");
  return index === undefined ? "" : `entry ${index}: `;
};

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function urlSetting(description: string): Setting<URL | undefined> {
  const schema = z
    .string()
    .optional()
    .transform((text, context) => {
      if (text === undefined || text === "") return undefined;
      const url = URL.canParse(text) ? new URL(text) : undefined;
      if (url?.protocol === "https:" || url?.protocol === "http:") return url;
      context.addIssue({ code: "custom", message: "must be an http or https URL" });
      return z.NEVER;
    });
  return { schema, description, shownDefault: "–", isSecret: false };
}
