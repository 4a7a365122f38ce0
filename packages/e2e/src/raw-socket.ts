import { once } from "node:events";
import { waitUntil } from "@walcast/testkit";
import { WebSocket } from "ws";

/** A WebSocket that speaks frames by hand, for what no client library would send. */
export interface RawSocket {
  /** Text frames parsed, binary ones as a Buffer. */
  readonly frames: unknown[];
  readonly close: Promise<{ readonly code: number; readonly reason: string }>;
  send(frame: unknown): void;
  sendText(text: string): void;
  sendBinary(bytes: Uint8Array): void;
  /** The first frame from `from` on that matches. */
  next(matches: (frame: unknown) => boolean, what: string): Promise<unknown>;
  /** Reads nothing, and later on again. */
  pause(): void;
  resume(): void;
  /** Pings that it has answered; they are by the library, as in browsers. */
  pinged(count: number): Promise<unknown>;
  end(): void;
}

export async function openRaw(
  url: string,
  query: Record<string, string> = {},
  headers: Record<string, string> = {},
): Promise<RawSocket> {
  const socket = new WebSocket(`${url}/websocket?${new URLSearchParams(query).toString()}`, { headers });
  const frames: unknown[] = [];
  socket.on("message", (data: Buffer, isBinary: boolean) =>
    frames.push(isBinary ? data : JSON.parse(data.toString("utf8"))),
  );
  let pings = 0;
  socket.on("ping", () => pings++);
  const close = once(socket, "close").then(([code, reason]) => ({ code: Number(code), reason: String(reason) }));
  await once(socket, "open");
  socket.on("error", () => undefined); // told by the close
  return {
    frames,
    close,
    send: (frame) => socket.send(JSON.stringify(frame)),
    sendText: (text) => socket.send(text),
    sendBinary: (bytes) => socket.send(bytes),
    next: (matches, what) => waitUntil(() => frames.find((frame) => matches(frame)), { what }),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    pinged: (count) => waitUntil(() => pings >= count, { what: `${count} pings` }),
    end: () => socket.close(),
  };
}

/** What a refused upgrade answers. */
export async function refusedUpgrade(
  url: string,
  query: Record<string, string>,
): Promise<{ status: number; body: string }> {
  const socket = new WebSocket(`${url}/websocket?${new URLSearchParams(query).toString()}`);
  socket.on("error", () => undefined); // the answer says more
  const [, response] = (await once(socket, "unexpected-response")) as [
    unknown,
    NodeJS.ReadableStream & { statusCode: number },
  ];
  let body = "";
  for await (const chunk of response) body += String(chunk);
  return { status: response.statusCode, body };
}
