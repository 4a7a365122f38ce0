import { describe, expect, it } from "vitest";
import { cachedVerifier, type CachedVerifierOptions } from "./cached-verifier.ts";
import { openTokenVerifier } from "./settings.ts";
import { startKeyServer, testKey } from "./test-keys.ts";
import type { TokenVerdict } from "./token.ts";

const start = Date.UTC(2026, 0, 1);
const minute = 60_000;

/** A verifier that is asked by hand: what it was asked, and what it answers when. */
function setUp(options: Omit<CachedVerifierOptions, "now"> = {}) {
  const asked: string[] = [];
  const state = { nowMs: start, answer: (_token: string): Promise<TokenVerdict> => Promise.resolve(valid()) };
  const cached = cachedVerifier(
    (token) => {
      asked.push(token);
      return state.answer(token);
    },
    { ...options, now: () => state.nowMs },
  );
  return { ...cached, asked, state };
}

const valid = (expiresAtMs = start + 60 * minute): TokenVerdict => ({
  tag: "valid",
  claims: { role: "authenticated", exp: expiresAtMs / 1000 },
  expiresAtMs,
});

describe("cachedVerifier", () => {
  it("verifies a token once", async () => {
    const { verify, asked } = setUp();
    const verdicts = [await verify("a"), await verify("a"), await verify("b")];
    expect(verdicts.map(({ tag }) => tag)).toEqual(["valid", "valid", "valid"]);
    expect(asked).toEqual(["a", "b"]);
  });

  it("verifies equal tokens that come at the same time once", async () => {
    const { verify, asked } = setUp();
    expect(await Promise.all([verify("a"), verify("a"), verify("b")])).toHaveLength(3);
    expect(asked).toEqual(["a", "b"]);
  });

  it.each<[string, TokenVerdict]>([
    ["expired", { tag: "expired", secondsAgo: 1 }],
    ["made up", { tag: "signatureInvalid" }],
    ["of a key that is not there yet", { tag: "keysUnavailable", kid: "k" }],
  ])("does not remember what is %s", async (_, verdict) => {
    const { verify, asked, state } = setUp();
    state.answer = () => Promise.resolve(verdict);
    expect([await verify("a"), await verify("a")]).toEqual([verdict, verdict]);
    expect(asked).toHaveLength(2);
  });

  it("does not remember failures, and tells them to all who asked", async () => {
    const { verify, asked, state } = setUp();
    state.answer = () => Promise.reject(new Error("broken"));
    const outcomes = await Promise.allSettled([verify("a"), verify("a")]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    state.answer = () => Promise.resolve(valid());
    expect((await verify("a")).tag).toBe("valid");
    expect(asked).toHaveLength(2);
  });

  it("remembers a token to its last millisecond and no longer", async () => {
    const { verify, asked, state } = setUp();
    state.answer = () => Promise.resolve(valid(start + 5_000));
    await verify("a");
    state.nowMs = start + 4_999;
    await verify("a");
    expect(asked).toHaveLength(1);
    state.nowMs = start + 5_000;
    state.answer = () => Promise.resolve({ tag: "expired", secondsAgo: 0 });
    expect((await verify("a")).tag).toBe("expired");
  });

  it("looks at a token anew after a while, however often it is shown", async () => {
    const { verify, asked, state } = setUp({ maxAgeMs: minute });
    for (let second = 0; second < 120; second++) {
      state.nowMs = start + second * 1_000;
      await verify("a");
    }
    expect(asked).toHaveLength(2);
  });

  it("forgets those first that nobody has shown for the longest time", async () => {
    const { verify, asked } = setUp({ limit: 2 });
    for (const token of ["a", "b", "a", "c", "a", "b"]) await verify(token);
    expect(asked).toEqual(["a", "b", "c", "b"]);
  });

  it("does not remember very long tokens and opaque keys", async () => {
    const { verify, asked } = setUp();
    const long = "x".repeat(8_193);
    for (const token of [long, long, "sb_key", "sb_key"]) await verify(token);
    expect(asked).toHaveLength(4);
  });

  it("forgets everything when the keys change, also what is being verified with the former ones", async () => {
    const { verify, forget, asked, state } = setUp();
    await verify("a");
    let answer: (verdict: TokenVerdict) => void = () => undefined;
    state.answer = () => new Promise((resolve) => (answer = resolve));
    const late = verify("b");
    forget();
    answer(valid());
    expect((await late).tag).toBe("valid");
    state.answer = () => Promise.resolve({ tag: "signatureInvalid" });
    expect([(await verify("a")).tag, (await verify("b")).tag]).toEqual(["signatureInvalid", "signatureInvalid"]);
    expect(asked).toEqual(["a", "b", "a", "b"]);
  });
});

describe("openTokenVerifier", () => {
  it("refuses the tokens of a key that its server no longer publishes, from the next fetch on", async () => {
    const [former, next] = [await testKey("ES256", "former"), await testKey("ES256", "next")];
    const server = await startKeyServer(former);
    const verify = openTokenVerifier({
      JWT_SECRET: undefined,
      JWT_JWKS: undefined,
      JWT_JWKS_URL: server.url,
      JWT_JWKS_MAX_AGE_MS: 600_000,
      JWT_JWKS_COOLDOWN_MS: 0,
      JWT_CLAIM_VALIDATORS: {},
      JWT_CLOCK_TOLERANCE_S: 0,
      API_KEYS: undefined,
    });
    const claims = { role: "authenticated", exp: Math.floor(Date.now() / 1000) + 60 };
    const [old, fresh] = [await former.sign(claims), await next.sign(claims)];
    expect((await verify(old)).tag).toBe("valid");
    server.publish(next);
    expect((await verify(fresh)).tag).toBe("valid"); // an unknown key: the set is fetched anew
    expect((await verify(old)).tag).toBe("noSigner");
    await server.stop();
  });
});
