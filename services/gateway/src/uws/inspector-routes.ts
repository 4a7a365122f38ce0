import type { PageFile } from "@walcast/inspector";
import type { HttpRequest, HttpResponse, TemplatedApp } from "uWebSockets.js";
import type { Inspector } from "../inspector.ts";

export interface InspectorRoutesOptions {
  readonly inspector: Inspector;
  /** Why a connection with this token would be refused. */
  readonly refusal: (
    token: string | undefined,
  ) => Promise<{ readonly status: string; readonly text: string } | undefined>;
}

/** Everything is the page's own; nothing is inline, framed, or sent anywhere else. `'self'` covers its WebSocket. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

const pageHeaders: readonly (readonly [name: string, value: string])[] = [
  ["content-security-policy", contentSecurityPolicy],
  ["x-content-type-options", "nosniff"],
  ["referrer-policy", "no-referrer"],
  ["cross-origin-opener-policy", "same-origin"],
  ["cross-origin-resource-policy", "same-origin"],
];

/** The page, which is static, and what it asks with its user's token. */
export function addInspectorRoutes(app: TemplatedApp, { inspector, refusal }: InspectorRoutesOptions): void {
  app.get("/inspector", (response) => {
    // Relative: a proxy may serve it below a prefix.
    response.writeStatus("307 Temporary Redirect").writeHeader("location", "inspector/").end();
  });
  app.get("/inspector/*", (response, request) => {
    const name = request.getUrl().slice("/inspector/".length);
    const accepted = request.getHeader("accept-encoding");
    const known = request.getHeader("if-none-match");
    let isAborted = false;
    response.onAborted(() => (isAborted = true));
    inspector.page.then(
      (page) => isAborted || response.cork(() => sendFile(response, page.get(name), { accepted, known })),
      (error: unknown) => isAborted || response.cork(() => sendTrouble(response, error)),
    );
  });
  const answer = (response: HttpResponse, request: HttpRequest, ask: (token: string) => Promise<Answer>): void => {
    const token = request.getHeader("apikey") || undefined;
    let isAborted = false;
    response.onAborted(() => (isAborted = true));
    void refusal(token)
      .then((refused): Answer | Promise<Answer> =>
        refused === undefined ? ask(token ?? "") : { status: refused.status, body: { error: refused.text } },
      )
      .catch((): Answer => ({ status: "500 Internal Server Error", body: { error: "The gateway could not answer" } }))
      .then(({ status, body }) => isAborted || response.cork(() => sendJson(response, status, body)));
  };
  app.get("/api/inspector/session", (response, request) =>
    answer(response, request, async (token) => ({ status: "200 OK", body: await inspector.session(token) })),
  );
  app.get("/api/inspector/channels", (response, request) =>
    answer(response, request, async (token) => {
      const { mayListChannels } = await inspector.session(token);
      if (mayListChannels) return { status: "200 OK", body: inspector.channels() };
      return { status: "403 Forbidden", body: { error: "The token's role is not among INSPECTOR_ROLES" } };
    }),
  );
}

interface Answer {
  readonly status: string;
  readonly body: object;
}

interface Asked {
  /** The Accept-Encoding header. */
  readonly accepted: string;
  /** The If-None-Match header. */
  readonly known: string;
}

function sendFile(response: HttpResponse, file: PageFile | undefined, { accepted, known }: Asked): void {
  if (file === undefined) {
    response.writeStatus("404 Not Found").writeHeader("content-type", "text/plain; charset=utf-8");
    response.end("The inspector has no such file; it is at /inspector/");
    return;
  }
  if (known === file.etag) response.writeStatus("304 Not Modified");
  for (const [name, value] of pageHeaders) response.writeHeader(name, value);
  response.writeHeader("cache-control", file.cacheControl).writeHeader("etag", file.etag);
  response.writeHeader("vary", "accept-encoding");
  if (known === file.etag) {
    response.endWithoutBody();
    return;
  }
  response.writeHeader("content-type", file.contentType);
  const { encoding, body } = encoded(file, accepted);
  if (encoding !== undefined) response.writeHeader("content-encoding", encoding);
  response.end(body);
}

function encoded({ plain, gzip, brotli }: PageFile, accepted: string): { encoding?: string; body: Buffer } {
  const accepts = (name: string): boolean =>
    new RegExp(`(?:^|,)\\s*${name}\\s*(?:,|;\\s*q=(?!0(?:\\.0*)?\\s*(?:,|$))|$)`, "u").test(accepted);
  if (brotli !== undefined && accepts("br")) return { encoding: "br", body: brotli };
  if (gzip !== undefined && accepts("gzip")) return { encoding: "gzip", body: gzip };
  return { body: plain };
}

function sendTrouble(response: HttpResponse, error: unknown): void {
  const reason = error instanceof Error ? error.message : String(error);
  response.writeStatus("503 Service Unavailable").writeHeader("content-type", "text/plain; charset=utf-8");
  response.end(`The inspector cannot be shown: ${reason}`);
}

function sendJson(response: HttpResponse, status: string, body: object): void {
  response.writeStatus(status).writeHeader("content-type", "application/json; charset=utf-8");
  response.writeHeader("cache-control", "no-store").end(JSON.stringify(body));
}
