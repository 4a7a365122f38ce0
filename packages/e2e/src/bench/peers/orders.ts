import { createServer } from "node:net";

// How a bench tells a yardstick server what to send, as the change log tells a gateway: over TCP, many frames at once.

/** One order: all frames of one turn of the event loop. */
export function encodeOrder(frames: readonly Buffer[]): Buffer {
  const parts: Buffer[] = [];
  const head = Buffer.alloc(4);
  head.writeUInt32BE(frames.length);
  parts.push(head);
  for (const frame of frames) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(frame.length);
    parts.push(length, frame);
  }
  return Buffer.concat(parts);
}

/** Listens for orders on a port of its own; resolves with it. */
export function takeOrders(onOrder: (frames: Buffer[]) => void): Promise<number> {
  const server = createServer((socket) => {
    let carry: Buffer = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      carry = carry.length === 0 ? chunk : Buffer.concat([carry, chunk]);
      for (;;) {
        const decoded = decodeOrder(carry);
        if (decoded === undefined) return;
        carry = decoded.rest;
        onOrder(decoded.frames);
      }
    });
    socket.on("error", () => undefined);
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : 0);
    });
  });
}

function decodeOrder(bytes: Buffer): { frames: Buffer[]; rest: Buffer } | undefined {
  if (bytes.length < 4) return undefined;
  const frames: Buffer[] = [];
  let at = 4;
  for (let count = bytes.readUInt32BE(0); count > 0; count--) {
    if (at + 4 > bytes.length) return undefined;
    const end = at + 4 + bytes.readUInt32BE(at);
    if (end > bytes.length) return undefined;
    frames.push(bytes.subarray(at + 4, end));
    at = end;
  }
  return { frames, rest: bytes.subarray(at) };
}

/** Tells the bench where the server listens. */
export function report(ports: { readonly port: number; readonly orders: number }): void {
  console.log(JSON.stringify(ports));
}
