import { inspect } from "node:util";
import { loadConfig } from "@walcast/config";
import { SignJWT } from "jose";
import { afterEach, describe, expect, it } from "vitest";
import { openTokenVerifier, tokenSettings } from "./index.ts";
import { startKeyServer, testKey, type KeyServer } from "./test-keys.ts";

const load = (environment: Record<string, string>) => loadConfig(tokenSettings, environment);
const claims = { role: "anon", exp: 4_000_000_000 };
let server: KeyServer | undefined;
afterEach(async () => {
  await server?.stop();
  server = undefined;
});

describe("the settings of tokens", () => {
  it("make a verifier of a secret, keys inline and keys behind a URL, all at once", async () => {
    const [inline, remote] = await Promise.all([testKey("ES256", "inline"), testKey("RS256", "remote")]);
    server = await startKeyServer(remote);
    const verify = openTokenVerifier(
      load({
        JWT_SECRET: "s".repeat(32),
        JWT_JWKS: JSON.stringify({ keys: [inline.jwk] }),
        JWT_JWKS_URL: server.url.href,
        API_KEYS: '{"sb_publishable_1":"anon"}',
      }),
    );
    const shared = await new SignJWT(claims)
      .setProtectedHeader({ alg: "HS256" })
      .sign(new TextEncoder().encode("s".repeat(32)));
    const tokens = [shared, await inline.sign(claims), await remote.sign(claims), "sb_publishable_1"];
    for (const token of tokens) expect(await verify(token)).toMatchObject({ tag: "valid", claims: { role: "anon" } });
  });

  it("must give something to verify with", () => {
    expect(() => openTokenVerifier(load({ API_KEYS: '{"sb_a":"anon"}' }))).toThrow(
      expect.objectContaining({ code: "JWT_KEYS_MISSING" }),
    );
  });

  it.each([
    ["JWT_JWKS", '{"keys":[{"k":"geheim"}]}'],
    ["JWT_JWKS", "geheim"],
    ["API_KEYS", '{"geheim":"anon"}'],
    ["API_KEYS", '{"sb_geheim":1}'],
    ["JWT_JWKS_URL", "file:///geheim"],
  ])("a wrong %s is told, and never printed", (name, value) => {
    expect(() => load({ [name]: value })).toThrow(expect.objectContaining({ code: "CONFIG" }));
    expect(() => load({ [name]: value })).not.toThrow(/geheim/u);
  });

  it("are not printed", () => {
    const config = load({
      JWT_SECRET: "geheim",
      JWT_JWKS: '{"keys":[{"kty":"oct","k":"geheim"}]}',
      API_KEYS: '{"sb_geheim":"anon"}',
    });
    expect(`${inspect(config, { depth: 9 })}${JSON.stringify(config)}`).not.toContain("geheim");
  });
});
