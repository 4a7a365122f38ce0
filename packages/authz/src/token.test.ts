import { SignJWT, UnsecuredJWT } from "jose";
import { describe, expect, it } from "vitest";
import { createTokenVerifier, joinRefusal, shutdownReason, upgradeRefusal, type TokenVerdict } from "./index.ts";

const secret = "a secret that is long enough for HS512, which wants 64 bytes of it, so it goes on";
const now = new Date("2026-01-01T00:00:00Z");
const seconds = now.getTime() / 1000;
const verify = createTokenVerifier({ secret, claimValidators: { iss: "me" }, now: () => now });
const sign = (claims: Record<string, unknown>, { alg = "HS256", key = secret } = {}): Promise<string> =>
  new SignJWT(claims).setProtectedHeader({ alg }).sign(new TextEncoder().encode(key));

const good = { role: "authenticated", exp: seconds + 60, iss: "me" };

describe("createTokenVerifier", () => {
  it.each(["HS256", "HS384", "HS512"])("accepts %s", async (alg) => {
    expect(await verify(await sign(good, { alg }))).toMatchObject({ tag: "valid", claims: { role: "authenticated" } });
  });

  it("reads URI-encoded tokens and ignores white space", async () => {
    expect((await verify(` ${encodeURIComponent(await sign(good))}\n`)).tag).toBe("valid");
  });

  const refused: [string, () => Promise<string> | string, TokenVerdict][] = [
    ["an expired one", () => sign({ ...good, exp: seconds - 7 }), { tag: "expired", secondsAgo: 7 }],
    ["one without role", () => sign({ exp: good.exp, iss: "me" }), { tag: "claimsMissing" }],
    ["one without exp", () => sign({ role: "anon", iss: "me" }), { tag: "claimsMissing" }],
    ["one with an exp that is no number", () => sign({ ...good, exp: "soon" }), { tag: "expirationInvalid" }],
    ["another key's", () => sign(good, { key: "another" }), { tag: "signatureInvalid" }],
    ["one whose claim differs", () => sign({ ...good, iss: "you" }), { tag: "claimMismatch", claim: "iss" }],
    ["garbage", () => "garbage", { tag: "malformed" }],
    ["garbage with dots", () => "a.b.c", { tag: "malformed" }],
    ["the empty text", () => "", { tag: "malformed" }],
    ["an unsigned one", () => new UnsecuredJWT(good).encode(), { tag: "noSigner", kid: undefined }],
  ];
  it.each(refused)("refuses %s", async (_name, token, verdict) => {
    expect(await verify(await token())).toEqual(verdict);
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
    expect(shutdownReason({ tag: "claimsMissing" })).toBe("Fields `role` and `exp` are required in JWT");
  });
});
