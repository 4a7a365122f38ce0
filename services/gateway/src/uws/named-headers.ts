import type { HttpRequest } from "uWebSockets.js";

type Headers = Readonly<Record<string, string>>;

const noHeaders: Headers = {};

/** What says who somebody is, which tokens are for: none of the policies' business, and nothing to leave in their logs. */
const credentials = new Set(["authorization", "apikey", "cookie", "x-api-key"]);
/** About the transport: they would only keep equal questions from sharing an answer. */
const ofTransport = new Set(["connection", "content-length", "transfer-encoding", "keep-alive"]);

/** The `x-*` headers of a connection, which policies of channels may look at (protocol.md 1.2), and those that are named. */
export const namedHeaders = (request: HttpRequest, named: readonly string[]): Headers =>
  headersOf(request, (name) => name.startsWith("x-") || named.includes(name));

/** Those of a request over HTTP: all of them (protocol.md 5.6). */
export const requestHeaders = (request: HttpRequest): Headers => headersOf(request, (name) => !ofTransport.has(name));

function headersOf(request: HttpRequest, isWanted: (name: string) => boolean): Headers {
  const found: Record<string, string> = {};
  request.forEach((name, value) => {
    if (!credentials.has(name) && isWanted(name)) found[name] = value;
  });
  return Object.keys(found).length === 0 ? noHeaders : found;
}
