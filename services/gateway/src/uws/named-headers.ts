import type { HttpRequest } from "uWebSockets.js";

const noHeaders: Readonly<Record<string, string>> = {};

/** The `x-*` headers, which policies may look at (protocol.md 1.2); the key is none of their business. */
export function namedHeaders(request: HttpRequest): Readonly<Record<string, string>> {
  const named: Record<string, string> = {};
  request.forEach((name, value) => {
    if (name.startsWith("x-") && name !== "x-api-key") named[name] = value;
  });
  return Object.keys(named).length === 0 ? noHeaders : named;
}
