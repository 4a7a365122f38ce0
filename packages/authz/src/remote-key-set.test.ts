import { waitUntil } from "@walcast/testkit";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTokenVerifier, RemoteKeySet, type TokenVerdict } from "./index.ts";
import { startKeyServer, testKey, type KeyServer, type TestKey } from "./test-keys.ts";

let first: TestKey;
let second: TestKey;
let server: KeyServer;
let nowMs = 0;
let troubles: (string | undefined)[] = [];

beforeAll(async () => {
  [first, second] = await Promise.all([testKey("ES256", "first"), testKey("RS256", "second")]);
});
beforeEach(async () => {
  nowMs = 0;
  troubles = [];
  server = await startKeyServer(first);
});
afterEach(() => server.stop());

const maxAgeMs = 600_000;
const cooldownMs = 30_000;
function keySet(): RemoteKeySet {
  const heard = troubles; // a fetch may end after its test
  return new RemoteKeySet({
    url: server.url,
    maxAgeMs,
    cooldownMs,
    timeoutMs: 2_000,
    now: () => nowMs,
    onTrouble: (trouble) => heard.push(trouble?.code),
  });
}
const claims = { role: "anon", exp: 4_000_000_000 };

async function verdictOf(keys: RemoteKeySet, key: TestKey, header?: Record<string, unknown>): Promise<TokenVerdict> {
  return await createTokenVerifier({ keySet: keys, claimValidators: {} })(await key.sign(claims, header));
}
const tagOf = async (...given: Parameters<typeof verdictOf>): Promise<string> => (await verdictOf(...given)).tag;

describe("a remote key set", () => {
  it("is fetched once for many tokens at once", async () => {
    const keys = keySet();
    const verdicts = await Promise.all(Array.from({ length: 50 }, () => tagOf(keys, first)));
    expect(new Set(verdicts)).toEqual(new Set(["valid"]));
    expect(server.requests).toBe(1);
  });

  it("is fetched again for a kid nobody knows, but at most once in the cooldown", async () => {
    const keys = keySet();
    await keys.load();
    server.publish(first, second);
    nowMs += cooldownMs - 1;
    expect(await verdictOf(keys, second)).toEqual({ tag: "noSigner", kid: "second" });
    expect(server.requests).toBe(1);
    nowMs += 1;
    expect(await tagOf(keys, second)).toBe("valid");
    expect(await tagOf(keys, first)).toBe("valid");
    const strangers = Array.from({ length: 20 }, (_, i) => tagOf(keys, first, { kid: `stranger ${i}` }));
    expect(new Set(await Promise.all(strangers))).toEqual(new Set(["noSigner"]));
    expect(server.requests).toBe(2);
  });

  it("forgets a key that was withdrawn, once the set is older than its age", async () => {
    const keys = keySet();
    await keys.load();
    server.publish(second);
    nowMs += maxAgeMs + 1;
    expect(await tagOf(keys, first)).toBe("valid"); // nobody waits: the old key serves while the set is fetched
    await waitUntil(async () => (await tagOf(keys, first)) === "noSigner", { what: "the withdrawn key to be gone" });
    expect(await tagOf(keys, second)).toBe("valid");
    expect(server.requests).toBe(2);
  });

  it("does not let anybody wait for a set that is only old", async () => {
    const keys = keySet();
    await keys.load();
    const release = server.hold();
    nowMs += maxAgeMs + 1;
    expect(await tagOf(keys, first)).toBe("valid");
    release();
  });

  it.each([
    ["does not answer", (): Promise<void> => server.stop()],
    ["answers 500", async (): Promise<void> => void (server.answer = { status: 500, body: "" })],
    ["answers what is no JSON", async (): Promise<void> => void (server.answer = { status: 200, body: "<html>" })],
    [
      "answers what is no key set",
      async (): Promise<void> => void (server.answer = { status: 200, body: '{"keys":1}' }),
    ],
  ])("serves on while the URL %s, and says so", async (_, breakServer) => {
    const keys = keySet();
    await keys.load();
    await breakServer();
    for (let hour = 0; hour < 3; hour++) {
      nowMs += 3_600_000;
      expect(await tagOf(keys, first)).toBe("valid");
      await waitUntil(() => troubles.length === hour + 1, { what: "the trouble to be told" });
    }
    expect(troubles).toEqual(["JWT_KEYS_UNAVAILABLE", "JWT_KEYS_UNAVAILABLE", "JWT_KEYS_UNAVAILABLE"]);
    expect(await verdictOf(keys, second)).toEqual({ tag: "keysUnavailable", kid: "second" });
  });

  it("that was never fetched is asked for again once a second, and works as soon as it is there", async () => {
    const keys = keySet();
    server.answer = { status: 503, body: "" };
    await expect(keys.load()).rejects.toMatchObject({ code: "JWT_KEYS_UNAVAILABLE" });
    server.publish(first);
    expect(await verdictOf(keys, first)).toEqual({ tag: "keysUnavailable", kid: "first" });
    expect(server.requests).toBe(1);
    nowMs += 1_000;
    expect(await tagOf(keys, first)).toBe("valid");
    expect(troubles).toEqual(["JWT_KEYS_UNAVAILABLE", undefined]);
  });

  it("follows no redirect: keys come from where the operator said", async () => {
    const keys = keySet();
    server.answer = { status: 302, body: "" };
    await expect(keys.load()).rejects.toMatchObject({ code: "JWT_KEYS_UNAVAILABLE" });
  });

  it("holds no secrets: an oct key at the URL verifies nothing", async () => {
    const oct = { kty: "oct", k: Buffer.from("published by mistake").toString("base64url"), kid: "first" };
    server.answer = { status: 200, body: JSON.stringify({ keys: [oct] }) };
    const keys = keySet();
    await keys.load();
    expect(await keys.find({ alg: "HS256", kid: "first" })).toBeUndefined();
  });
});
