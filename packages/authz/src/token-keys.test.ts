import { exportJWK, exportSPKI, importJWK, SignJWT, type CryptoKey, type JWK } from "jose";
import { describe, expect, it } from "vitest";
import { createTokenVerifier, inlineKeySet, type TokenVerifier } from "./index.ts";
import { testKey } from "./test-keys.ts";

const claims = { role: "authenticated", exp: 4_000_000_000 };
const secret = "the shared secret, which signs what names no key";
const octKey = (kid: string, text: string): JWK => ({ kty: "oct", kid, k: Buffer.from(text).toString("base64url") });
const signWith = (text: string, header: { alg: string; kid?: string }): Promise<string> =>
  new SignJWT(claims).setProtectedHeader(header).sign(new TextEncoder().encode(text));

async function verifierOf(keys: readonly JWK[], options: { secret?: string } = {}): Promise<TokenVerifier> {
  return createTokenVerifier({ keySet: inlineKeySet({ keys: [...keys] }), claimValidators: {}, ...options });
}

describe("keys", () => {
  it.each(["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"])(
    "of %s tokens are found by their kid",
    async (alg) => {
      const [key, other] = await Promise.all([testKey(alg, "mine"), testKey(alg, "other")]);
      const verify = await verifierOf([other.jwk, key.jwk]);
      expect(await verify(await key.sign(claims))).toMatchObject({ tag: "valid", claims });
      expect(await verify(await key.sign(claims, { kid: "other" }))).toEqual({ tag: "signatureInvalid" });
      expect(await verify(await key.sign(claims, { kid: "none" }))).toEqual({ tag: "noSigner", kid: "none" });
    },
  );

  it("serve a token without kid when only one suits", async () => {
    const [ec, rsa, rsa2] = await Promise.all([testKey("ES256", "a"), testKey("RS256", "b"), testKey("RS256", "c")]);
    const token = await rsa.sign(claims, {});
    expect((await (await verifierOf([ec.jwk, rsa.jwk]))(token)).tag).toBe("valid");
    expect(await (await verifierOf([rsa.jwk, rsa2.jwk]))(token)).toEqual({ tag: "noSigner", kid: undefined });
  });

  it("of HS tokens: the oct key they name, else the shared secret", async () => {
    const verify = await verifierOf([octKey("k", "the key they name, also long enough")], { secret });
    expect((await verify(await signWith("the key they name, also long enough", { alg: "HS256", kid: "k" }))).tag).toBe(
      "valid",
    );
    expect(await verify(await signWith(secret, { alg: "HS256", kid: "k" }))).toEqual({ tag: "signatureInvalid" });
    expect((await verify(await signWith(secret, { alg: "HS256", kid: "another" }))).tag).toBe("valid");
    expect((await verify(await signWith(secret, { alg: "HS512" }))).tag).toBe("valid");
  });

  it("are for what they say: alg and use are kept to", async () => {
    const key = await testKey("RS256", "k");
    const token = await key.sign(claims);
    for (const restriction of [{ alg: "RS384" }, { use: "enc" }, { key_ops: ["encrypt"] }]) {
      const verify = await verifierOf([{ ...key.jwk, ...restriction }]);
      expect(await verify(token)).toEqual({ tag: "noSigner", kid: "k" });
    }
    const oct = { ...octKey("o", secret), use: "enc" };
    expect(await (await verifierOf([oct]))(await signWith(secret, { alg: "HS256", kid: "o" }))).toEqual({
      tag: "noSigner",
      kid: "o",
    });
  });

  it("that are private are no keys to verify with", async () => {
    const key = await testKey("ES256", "k");
    const verify = await verifierOf([{ ...(await exportJWK(key.privateKey)), kid: "k" }]);
    expect(await verify(await key.sign(claims))).toEqual({ tag: "noSigner", kid: "k" });
  });
});

describe("algorithm confusion", () => {
  it("a public key does not verify what was signed with it as a secret", async () => {
    const rsa = await testKey("RS256", "k");
    const spki = await exportSPKI((await importJWK(rsa.jwk, "RS256", { extractable: true })) as CryptoKey);
    for (const asSecret of [spki, JSON.stringify(rsa.jwk), String(rsa.jwk.n)]) {
      const token = await signWith(asSecret, { alg: "HS256", kid: "k" });
      expect(await (await verifierOf([rsa.jwk]))(token)).toEqual({ tag: "noSigner", kid: "k" });
      expect(await (await verifierOf([rsa.jwk], { secret }))(token)).toEqual({ tag: "signatureInvalid" });
    }
  });

  it("a key of one curve or family does not verify another's tokens", async () => {
    const [ec, ed] = await Promise.all([testKey("ES256", "k"), testKey("EdDSA", "k")]);
    expect(await (await verifierOf([ed.jwk]))(await ec.sign(claims))).toEqual({ tag: "noSigner", kid: "k" });
    expect(await (await verifierOf([ec.jwk]))(await ed.sign(claims))).toEqual({ tag: "noSigner", kid: "k" });
  });

  it("the shared secret is for HS alone, and algorithms nobody agreed on are refused", async () => {
    const [rsa, pss] = await Promise.all([testKey("RS256", "k"), testKey("PS256", "k")]);
    const verify = createTokenVerifier({ secret, claimValidators: {} });
    expect(await verify(await rsa.sign(claims))).toEqual({ tag: "noSigner", kid: "k" });
    expect(await (await verifierOf([pss.jwk]))(await pss.sign(claims))).toEqual({ tag: "noSigner", kid: "k" });
  });

  const header = (fields: object): string => Buffer.from(JSON.stringify(fields)).toString("base64url");
  const payload = header(claims);
  it.each([
    ["none", { alg: "none" }, "noSigner"],
    ["None", { alg: "None" }, "noSigner"],
    ["nOnE with a kid", { alg: "nOnE", kid: "k" }, "noSigner"],
    ["no algorithm", { typ: "JWT" }, "malformed"],
    ["an algorithm that is a list", { alg: ["HS256"] }, "malformed"],
    ["a kid that is an object", { alg: "HS256", kid: { $ne: 1 } }, "malformed"],
    ["a kid that is a path", { alg: "HS256", kid: "../../dev/null" }, "signatureInvalid"],
    ["a kid of SQL", { alg: "HS256", kid: "' UNION SELECT 'x" }, "signatureInvalid"],
    ["a key of its own", { alg: "RS256", jwk: { kty: "RSA" } }, "noSigner"],
    ["a key behind its own URL", { alg: "RS256", jku: "http://127.0.0.1:1/jwks" }, "noSigner"],
    ["an extension nobody knows", { alg: "HS256", crit: ["x"], x: 1 }, "malformed"],
    ["a header that is no object", "HS256", "malformed"],
  ])("%s in the header is refused", async (_, fields, tag) => {
    const verify = createTokenVerifier({ secret, claimValidators: {} });
    const token = `${header(fields as object)}.${payload}.${Buffer.alloc(32).toString("base64url")}`;
    expect((await verify(token)).tag).toBe(tag);
    expect((await verify(`${header(fields as object)}.${payload}.`)).tag).not.toBe("valid");
  });
});
