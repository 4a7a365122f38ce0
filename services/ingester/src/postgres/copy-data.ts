import type { Socket } from "node:net";

const sizeOf = (message: Buffer, at = 0): number => 1 + message.readUInt32BE(at + 1);

export interface CopyDataHandlers {
  /** One CopyData message's content is `bytes[start, end)`, which stay as they are. */
  copyData(bytes: Buffer, start: number, end: number): void;
  /** A message of any other kind, whole. */
  other(message: Buffer): void;
}

const tagCopyData = 0x64;
/** Tag and length come before a message's content; the length counts itself but not the tag. */
const headerBytes = 5;

/**
 * Cuts a server's byte stream into messages (PostgreSQL manual, "Message Formats"). Chunks are only looked into, as the
 * socket reads each into memory of its own; what stands across two chunks is joined in a buffer of its own.
 */
export class MessageCutter {
  readonly #handlers: CopyDataHandlers;
  /** A message that has begun: its bytes so far and, once its header is there, all the room it takes. */
  #begun: Buffer | undefined;
  #filled = 0;

  constructor(handlers: CopyDataHandlers) {
    this.#handlers = handlers;
  }

  take(chunk: Buffer): void {
    let at = 0;
    while (this.#begun !== undefined && at < chunk.length) at = this.#fill(this.#begun, chunk, at);
    while (at + headerBytes <= chunk.length) {
      const end = at + sizeOf(chunk, at);
      if (end > chunk.length) break;
      this.#hand(chunk, at, end);
      at = end;
    }
    if (at < chunk.length) this.#begin(chunk.subarray(at));
  }

  #hand(bytes: Buffer, start: number, end: number): void {
    if (bytes[start] === tagCopyData) this.#handlers.copyData(bytes, start + headerBytes, end);
    else this.#handlers.other(bytes.subarray(start, end));
  }

  /** Makes room for the header, or, when that is there, for all of the message. */
  #begin(part: Buffer): void {
    this.#begun = Buffer.allocUnsafeSlow(part.length < headerBytes ? headerBytes : sizeOf(part));
    this.#filled = part.copy(this.#begun);
  }

  /** Goes on with the message that has begun; returns the place in the chunk after what was taken. */
  #fill(begun: Buffer, chunk: Buffer, at: number): number {
    const copied = chunk.copy(begun, this.#filled, at, at + begun.length - this.#filled);
    this.#filled += copied;
    if (this.#filled === begun.length) {
      this.#begun = undefined;
      if (sizeOf(begun) === begun.length) this.#hand(begun, 0, begun.length);
      else this.#begin(begun);
    }
    return at + copied;
  }
}

/**
 * From now on a connection's CopyData messages go to `copyData`, straight from the socket; all others go the way they went;
 * `chunkEnd` is called after what the socket brought at once. Call it while the server has nothing to say: before the query that starts copying.
 */
export function divertCopyData(
  socket: Socket,
  to: { readonly copyData: CopyDataHandlers["copyData"]; readonly chunkEnd: () => void },
): void {
  const listeners = socket.listeners("data") as ((chunk: Buffer) => void)[];
  const cutter = new MessageCutter({
    copyData: to.copyData,
    other: (message) => listeners.forEach((listen) => listen.call(socket, message)),
  });
  for (const listen of listeners) socket.removeListener("data", listen);
  socket.on("data", (chunk: Buffer) => {
    cutter.take(chunk);
    to.chunkEnd();
  });
}
