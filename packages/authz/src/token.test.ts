import { CompactSign, SignJWT, UnsecuredJWT } from "jose";
import { describe, expect, it } from "vitest";
import {
  createTokenVerifier,
  joinRefusal,
  shutdownReason,
  upgradeRefusal,
  type TokenVerdict,
  type TokenVerifier,
} from "./index.ts";

const secret = "a secret that is long enough for HS512, which wants 64 bytes of it, so it goes on";
const now = new Date("2026-01-01T00:00:00Z");
const seconds = now.getTime() / 1000;
const verify = createTokenVerifier({ secret, claimValidators: { iss: "me" }, now: () => now });
const sign = (claims: Record<string, unknown>, { alg = "HS256", key = secret } = {}): Promise<string> =>
  new SignJWT(claims).setProtectedHeader({ alg }).sign(new TextEncoder().encode(key));

const signText = (text: string): Promise<string> =>
  new CompactSign(new TextEncoder().encode(text))
    .setProtectedHeader({ alg: "HS256" })
    .sign(new TextEncoder().encode(secret));
function swapPayload(token: string): string {
  const [header, , signature] = token.split(".");
  const claims = { ...good, role: "service_role" };
  return `${header}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.${signature}`;
}

const good = { role: "authenticated", exp: seconds + 60, iss: "me" };

describe("createTokenVerifier", () => {
  it.each(["HS256", "HS384", "HS512"])("accepts %s", async (alg) => {
    expect(await verify(await sign(good, { alg }))).toMatchObject({ tag: "valid", claims: { role: "authenticated" } });
  });

  it("reads URI-encoded tokens and ignores white space", async () => {
    expect((await verify(` ${encodeURIComponent(await sign(good))}\n`)).tag).toBe("valid");
  });

  it("keeps claims that a double cannot hold as they are", async () => {
    const own = `"uid":9007199254740993,"org":{"ids":[1e400,9007199254740993.5,0.1,7,-9223372036854775808]}`;
    const given = `{"role":"authenticated","exp":${good.exp},"iss":"me",${own}}`;
    const verdict = await verify(await signText(given));
    expect(verdict.tag === "valid" && JSON.stringify(verdict.claims)).toBe(given);
    const eternal = await verify(await signText(`{"role":"a","exp":9999999999999999999,"iat":1e0,"iss":"me"}`));
    expect(eternal).toMatchObject({ tag: "valid", claims: { exp: 1e19, iat: 1 } });
  });

  const refused: [string, () => Promise<string> | string, TokenVerdict][] = [
    ["an expired one", () => sign({ ...good, exp: seconds - 7 }), { tag: "expired", secondsAgo: 7 }],
    ["one without role", () => sign({ exp: good.exp, iss: "me" }), { tag: "claimsMissing" }],
    ["one without exp", () => sign({ role: "anon", iss: "me" }), { tag: "claimsMissing" }],
    ["one with an exp that is no number", () => sign({ ...good, exp: "soon" }), { tag: "expirationInvalid" }],
    ["another key's", () => sign(good, { key: "another" }), { tag: "signatureInvalid" }],
    ["one whose claim differs", () => sign({ ...good, iss: "you" }), { tag: "claimMismatch", claim: "iss" }],
    ["one whose iat is no number", () => sign({ ...good, iat: "now" }), { tag: "expirationInvalid" }],
    ["one whose role is no text", () => sign({ ...good, role: ["service_role"] }), { tag: "claimsMissing" }],
    ["one that is too long", () => sign({ ...good, x: "x".repeat(65_536) }), { tag: "malformed" }],
    ["one cut short", async () => (await sign(good)).slice(0, -3), { tag: "signatureInvalid" }],
    ["one with another payload", async () => swapPayload(await sign(good)), { tag: "signatureInvalid" }],
    ["one whose payload is no object", () => signText("[1]"), { tag: "malformed" }],
    ["one whose payload is no JSON", () => signText("{"), { tag: "malformed" }],
    ["garbage", () => "garbage", { tag: "malformed" }],
    ["garbage with dots", () => "a.b.c", { tag: "malformed" }],
    ["the empty text", () => "", { tag: "malformed" }],
    ["an unsigned one", () => new UnsecuredJWT(good).encode(), { tag: "noSigner", kid: undefined }],
  ];
  it.each(refused)("refuses %s", async (_name, token, verdict) => {
    expect(await verify(await token())).toEqual(verdict);
  });

  it("rounds decimals of exp, and looks at nbf, aud and iss only when told to", async () => {
    expect(await verify(await sign({ ...good, exp: seconds + 0.4 }))).toMatchObject({ tag: "expired" });
    expect(await verify(await sign({ ...good, exp: seconds + 0.6 }))).toMatchObject({
      tag: "valid",
      claims: { exp: seconds + 1 },
    });
    expect(await verify(await sign({ ...good, nbf: seconds + 600, aud: "anyone" }))).toMatchObject({ tag: "valid" });
  });

  it("accepts a token for as long after its exp as the clock tolerance says", async () => {
    let at = now;
    const tolerant = createTokenVerifier({ secret, claimValidators: {}, clockToleranceSeconds: 5, now: () => at });
    const token = await sign({ ...good, exp: seconds });
    expect(await tolerant(token)).toMatchObject({ tag: "valid", expiresAtMs: (seconds + 5) * 1000 });
    at = new Date(now.getTime() + 5_000);
    expect(await tolerant(token)).toEqual({ tag: "expired", secondsAgo: 5 });
  });

  it("takes claims that must be equal in any shape", async () => {
    const validating = createTokenVerifier({ secret, claimValidators: { aud: ["a", "b"] }, now: () => now });
    expect((await validating(await sign({ ...good, aud: ["a", "b"] }))).tag).toBe("valid");
    expect((await validating(await sign({ ...good, aud: ["b", "a"] }))).tag).toBe("claimMismatch");
    expect((await validating(await sign(good))).tag).toBe("claimMismatch");
  });

  describe("API keys", () => {
    const keyed = async (): Promise<TokenVerifier> => {
      const apiKeys = { sb_publishable_a: "anon", sb_secret_b: await sign({ ...good, role: "service_role" }) };
      return createTokenVerifier({ secret, apiKeys, claimValidators: { iss: "me" }, now: () => now });
    };

    it("stand for a role, or for a token", async () => {
      const verifyKey = await keyed();
      expect(await verifyKey("sb_publishable_a")).toMatchObject({ tag: "valid", claims: { role: "anon" } });
      expect(await verifyKey(" sb_secret_b\n")).toMatchObject({ tag: "valid", claims: { role: "service_role" } });
    });

    it("that nobody set are refused", async () => {
      const verifyKey = await keyed();
      for (const key of ["sb_", "sb_publishable_", "sb_publishable_ab", "sb_constructor", "SB_publishable_a"]) {
        expect(await verifyKey(key)).toEqual({ tag: "malformed" });
      }
    });

    it("end with the token they stand for", async () => {
      const apiKeys = { sb_old: await sign({ ...good, exp: seconds - 1 }) };
      const verifyKey = createTokenVerifier({ secret, apiKeys, claimValidators: {}, now: () => now });
      expect(await verifyKey("sb_old")).toEqual({ tag: "expired", secondsAgo: 1 });
    });
  });

  it("has the peer's words for each refusal", () => {
    expect(upgradeRefusal({ tag: "malformed" })).toEqual({
      status: "401 Unauthorized",
      text: "The token provided is not a valid JWT",
    });
    expect(joinRefusal({ tag: "expired", secondsAgo: 7 })).toBe("InvalidJWTToken: Token has expired 7 seconds ago");
    expect(joinRefusal({ tag: "noSigner", kid: "k" })).toBe(
      'JwtSignerError: Failed to generate JWT signer for key ID (kid) "k", check your JWT secret or JWKS configuration',
    );
    expect(upgradeRefusal({ tag: "keysUnavailable", kid: "k" })).toEqual({
      status: "500 Internal Server Error",
      text: "Error connecting to Realtime",
    });
    expect(shutdownReason({ tag: "claimsMissing" })).toBe("Fields `role` and `exp` are required in JWT");
  });
});
