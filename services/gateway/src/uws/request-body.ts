import type { HttpResponse } from "uWebSockets.js";

export type RequestBody =
  | { readonly tag: "body"; readonly bytes: Buffer }
  /** More came than is taken; it was read to its end and let go. */
  | { readonly tag: "tooLarge" };

/** A body this much above the limit is not read to its end: the connection is closed. */
const patience = 8;

/**
 * Collects the body of a request. To be called before the route returns. What is above the limit is not kept, and yet read:
 * a client that still sends does not read, and would see a broken connection in place of the answer. Never settles for a
 * request that was aborted.
 */
export function readBody(response: HttpResponse, limitBytes: number): Promise<RequestBody> {
  return new Promise((resolve) => {
    let chunks: Buffer[] = [];
    let size = 0;
    response.onData((chunk, isLast) => {
      size += chunk.byteLength;
      if (size <= limitBytes) chunks.push(Buffer.from(chunk.slice(0))); // its bytes are gone when this returns
      else chunks = [];
      if (isLast) resolve(size <= limitBytes ? { tag: "body", bytes: Buffer.concat(chunks) } : { tag: "tooLarge" });
      else if (size > patience * limitBytes) response.close();
    });
  });
}
