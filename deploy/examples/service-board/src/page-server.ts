import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Liveness } from "./board-keeper.ts";

/** The whole site. Looking a path up here, instead of on the disk, leaves nothing to traverse. */
const PAGE = {
  "/": { file: "index.html", type: "text/html; charset=utf-8" },
  "/board.css": { file: "board.css", type: "text/css; charset=utf-8" },
  "/board.js": { file: "board.js", type: "text/javascript; charset=utf-8" },
} as const;

const HEADERS = {
  "Cache-Control": "no-cache",
  "Content-Security-Policy":
    "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
} as const;

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string | Buffer;
}

const plain = (status: number, body: string): Answer => ({ status, type: "text/plain; charset=utf-8", body });

/** Serves the page and `/healthz`; socket.io adds its own paths to the same server. */
export async function createPageServer(liveness: () => Liveness): Promise<Server> {
  const page = new Map<string, Answer>();
  for (const [path, { file, type }] of Object.entries(PAGE)) {
    page.set(path, { status: 200, type, body: await readFile(new URL(`../public/${file}`, import.meta.url)) });
  }

  const answerTo = (request: IncomingMessage): Answer => {
    if (request.method !== "GET" && request.method !== "HEAD") return plain(405, "only GET and HEAD\n");
    const [path = "/"] = (request.url ?? "/").split("?");
    if (path !== "/healthz") return page.get(path) ?? plain(404, "not found\n");
    const now = liveness();
    return { status: now.tag === "live" ? 200 : 503, type: "application/json", body: `${JSON.stringify(now)}\n` };
  };

  return createServer((request: IncomingMessage, response: ServerResponse) => {
    const { status, type, body } = answerTo(request);
    response.writeHead(status, { ...HEADERS, "Content-Type": type, "Content-Length": Buffer.byteLength(body) });
    response.end(request.method === "HEAD" ? undefined : body);
  });
}
