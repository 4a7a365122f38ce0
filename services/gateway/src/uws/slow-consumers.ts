import { CloseCode } from "@walcast/protocol";

/** What is needed of a socket to see that nobody reads from it. */
export interface Outbox {
  getBufferedAmount(): number;
  getTopics(): string[];
  unsubscribe(name: string): boolean;
  end(code: number, reason: string): void;
  close(): void;
}

/** A client that is let go has this long to read what waits for it. */
const graceMs = 10_000;
const leastMarginBytes = 16 * 1024 * 1024;
/** Outboxes are looked at so often, and whenever so much has been published since. */
const lookEveryMs = 250;
const lookEveryBytes = leastMarginBytes / 4;

/**
 * Where the library itself gives a socket up: it leaves out one frame and closes at once, without a code (1006). Far enough
 * beyond our limit that we come first, unless as much is published in one turn of the event loop.
 */
export const cutLimitBytes = (limitBytes: number): number => limitBytes + Math.max(limitBytes, leastMarginBytes);

/**
 * Lets go of clients that read too slowly. They get nothing more, so what they have is without a gap, and once they have read
 * it they are told to come back later (1013). The library's own way would leave frames out before it tells anybody.
 */
export class SlowConsumers {
  readonly #limitBytes: number;
  /** Asks `isSlow` about all sockets. */
  readonly #look: () => void;
  readonly #leaving = new Map<Outbox, number>();
  #publishedBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor({ limitBytes, look }: { readonly limitBytes: number; readonly look: () => void }) {
    this.#limitBytes = limitBytes;
    this.#look = look;
  }

  start(): void {
    this.#timer = setInterval(() => this.#lookNow(), lookEveryMs);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Much published makes for a look once the library has written it: in the next turn of the event loop. */
  published(bytes: number): void {
    const before = this.#publishedBytes;
    this.#publishedBytes += bytes;
    if (before < lookEveryBytes && this.#publishedBytes >= lookEveryBytes) setImmediate(() => this.#lookNow());
  }

  isSlow(socket: Outbox): boolean {
    return socket.getBufferedAmount() > this.#limitBytes;
  }

  /** Nothing is published to it any more. */
  letGo(socket: Outbox): void {
    for (const topic of socket.getTopics()) socket.unsubscribe(topic);
    this.#leaving.set(socket, performance.now() + graceMs);
  }

  /** The socket's client has read something. */
  drained(socket: Outbox): void {
    if (this.#leaving.has(socket) && socket.getBufferedAmount() === 0) {
      socket.end(CloseCode.TryAgainLater, "too slow: come back");
    }
  }

  closed(socket: Outbox): void {
    this.#leaving.delete(socket);
  }

  #lookNow(): void {
    this.#publishedBytes = 0;
    if (this.#timer === undefined) return;
    this.#look();
    this.#cutOverdue();
  }

  /** Closes those that do not read at all. */
  #cutOverdue(): void {
    const nowMs = performance.now();
    for (const [socket, deadlineMs] of this.#leaving) if (nowMs >= deadlineMs) socket.close();
  }
}
