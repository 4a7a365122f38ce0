import { request, type IncomingMessage } from "node:http";
import { describe, expect, it } from "vitest";
import { Inspector } from "./inspector.ts";
import { env, openSocket, startTestGateway, tokenOf } from "./test-gateway.ts";

/** Bytes as they are sent: fetch would unpack them. */
const get = (url: string, headers: Record<string, string> = {}): Promise<IncomingMessage & { body: Buffer }> =>
  new Promise((resolve, reject) => {
    const asked = request(url, { headers }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("end", () => resolve(Object.assign(response, { body: Buffer.concat(parts) })));
    });
    asked.on("error", reject);
    asked.end();
  });

describe("the inspector's page", () => {
  it("is served with what it needs and nothing else may be loaded", async () => {
    const { base } = await startTestGateway({ env: { INSPECTOR: "true" } });
    const moved = await get(`${base}/inspector`);
    expect([moved.statusCode, moved.headers.location]).toEqual([307, "inspector/"]);
    const page = await get(`${base}/inspector/`);
    expect(page.statusCode).toBe(200);
    expect(page.headers).toMatchObject({
      "content-type": "text/html; charset=utf-8",
      "cache-control": "no-cache",
      vary: "accept-encoding",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
    });
    const policy = String(page.headers["content-security-policy"]);
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/unsafe|https?:|\*|data:/u);
    const same = await get(`${base}/inspector/`, { "if-none-match": String(page.headers.etag) });
    expect([same.statusCode, same.body.length]).toEqual([304, 0]);
    expect((await get(`${base}/inspector/../../package.json`)).statusCode).toBe(404);
    expect((await get(`${base}/inspector/nothing.js`)).statusCode).toBe(404);
  });

  it("has assets that may be kept for good, in the smallest form that the browser reads", async () => {
    const { base } = await startTestGateway({ env: { INSPECTOR: "true" } });
    const html = (await get(`${base}/inspector/`)).body.toString();
    const script = /src="\.\/(assets\/[^"]+-[\w-]{8}\.js)"/u.exec(html)?.[1];
    expect(script).toBeDefined();
    const url = `${base}/inspector/${script}`;
    const sizes: number[] = [];
    for (const [accepted, encoding] of [
      ["gzip, deflate, br, zstd", "br"],
      ["gzip;q=1.0", "gzip"],
      ["br;q=0, gzip;q=0", undefined],
      ["identity", undefined],
    ] as const) {
      const { headers, body } = await get(url, { "accept-encoding": accepted });
      expect(headers["content-encoding"]).toBe(encoding);
      expect(headers["cache-control"]).toBe("public, max-age=31536000, immutable");
      expect(headers["content-type"]).toBe("text/javascript; charset=utf-8");
      sizes.push(body.length);
    }
    expect(sizes[0]).toBeLessThan(sizes[1] ?? 0);
    expect(sizes[1]).toBeLessThan(sizes[2] ?? 0);
    expect(sizes[0]).toBeLessThan(60_000);
  });

  it("is not there unless it is switched on", async () => {
    const { base } = await startTestGateway();
    for (const path of ["/inspector", "/inspector/", "/api/inspector/session", "/api/inspector/channels"])
      expect((await get(base + path)).statusCode).toBe(404);
  });
});

describe("what the page asks", () => {
  const ask = async (base: string, path: string, apikey?: string) => {
    const { statusCode, headers, body } = await get(
      `${base}/api/inspector/${path}`,
      apikey === undefined ? {} : { apikey },
    );
    expect(headers["cache-control"]).toBe("no-store");
    return { status: statusCode, body: JSON.parse(body.toString()) as unknown };
  };

  it("tells why a token is not let in, and what one may do that is", async () => {
    const { base } = await startTestGateway({ env: { ...env, INSPECTOR: "true" } });
    expect(await ask(base, "session")).toEqual({ status: 401, body: { error: "API key is missing" } });
    const wrong = await ask(base, "session", "wrong");
    expect(wrong).toEqual({ status: 401, body: { error: expect.stringMatching(/\w+/u) as unknown } });
    expect(await ask(base, "session", tokenOf("anon"))).toEqual({
      status: 200,
      body: { role: "anon", mayListChannels: false },
    });
    expect(await ask(base, "session", tokenOf("service_role"))).toEqual({
      status: 200,
      body: { role: "service_role", mayListChannels: true },
    });
  });

  it("lists topics to those who may", async () => {
    const gateway = await startTestGateway({ env: { ...env, INSPECTOR: "true", INSPECTOR_ROLES: '["boss"]' } });
    for (const topics of [["realtime:a", "realtime:b"], ["realtime:b"]]) {
      const socket = await openSocket(gateway, "2.0.0", tokenOf("anon"));
      for (const topic of topics) await socket.join(topic);
    }
    expect(await ask(gateway.base, "channels", tokenOf("service_role"))).toMatchObject({ status: 403 });
    expect(await ask(gateway.base, "channels")).toMatchObject({ status: 401 });
    expect(await ask(gateway.base, "channels", tokenOf("boss"))).toEqual({
      status: 200,
      body: {
        topics: [
          { topic: "realtime:b", channels: 2 },
          { topic: "realtime:a", channels: 1 },
        ],
        topicCount: 2,
        channelCount: 3,
      },
    });
  });

  it("counts at most once a second, and lists at most so many", () => {
    let [nowMs, looks] = [0, 0];
    const inspector = new Inspector({
      openPage: () => Promise.reject(new Error("not built")),
      verifyToken: undefined,
      roles: [],
      topics: () => {
        looks++;
        return [Array.from({ length: 300 }, (_, i) => `realtime:${i}`)];
      },
      now: () => nowMs,
    });
    const { topics, topicCount } = inspector.channels();
    expect([topics.length, topicCount]).toEqual([200, 300]);
    inspector.channels();
    expect(looks).toBe(1);
    nowMs = 1_000;
    inspector.channels();
    expect(looks).toBe(2);
  });
});
