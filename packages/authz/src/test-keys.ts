import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from "jose";

// For tests: key pairs, tokens signed with them, and a real server that publishes the public halves.

export interface TestKey {
  readonly jwk: JWK;
  readonly privateKey: CryptoKey;
  sign(claims: Record<string, unknown>, header?: Record<string, unknown>): Promise<string>;
}

export async function testKey(alg: string, kid?: string): Promise<TestKey> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), ...(kid === undefined ? {} : { kid }) };
  return {
    jwk,
    privateKey,
    sign: (claims, header = kid === undefined ? {} : { kid }) =>
      new SignJWT(claims).setProtectedHeader({ alg, ...header }).sign(privateKey),
  };
}

export interface KeyServer {
  readonly url: URL;
  /** What it answers next. */
  answer: { readonly status: number; readonly body: string };
  publish(...keys: readonly TestKey[]): void;
  /** How often it was asked. */
  requests: number;
  /** Answers are held back until the returned function is called. */
  hold(): () => void;
  stop(): Promise<void>;
}

export async function startKeyServer(...keys: readonly TestKey[]): Promise<KeyServer> {
  let held: Promise<void> | undefined;
  const server: Server = createServer((_request, response) => {
    keyServer.requests++;
    const answer = async (): Promise<void> => {
      await held;
      response.writeHead(keyServer.answer.status, { "content-type": "application/json" });
      response.end(keyServer.answer.body);
    };
    void answer();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const keyServer: KeyServer = {
    url: new URL(`http://127.0.0.1:${port}/.well-known/jwks.json`),
    answer: { status: 200, body: "" },
    requests: 0,
    publish(...published) {
      this.answer = { status: 200, body: JSON.stringify({ keys: published.map(({ jwk }) => jwk) }) };
    },
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return () => {
        held = undefined;
        resolve();
      };
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  keyServer.publish(...keys);
  return keyServer;
}
