/** Frames are handled for so long in one turn of the event loop. */
const turnMs = 3;
/**
 * Where some of them are published, longer: what is published in one turn goes out in one write per socket. Of 32 the library
 * writes at once, one socket after the other within the call, which costs half as much again; so one less is a turn's share.
 */
const publishing = { turnMs: 25, frames: 31 };

/** A frame that was not handled yet. */
interface Received<From> {
  readonly connection: From;
  readonly frame: string | Buffer;
}

export interface ReceivedFramesOptions<From> {
  readonly handle: (connection: From, frame: string | Buffer) => void;
  /** Milliseconds. */
  readonly now?: () => number;
}

/**
 * What clients sent, handled in order at the end of the turn of the event loop, outside of the library's callbacks: in them
 * the library holds its one cork for the socket it reads from, and what is published there goes out in a write per message
 * and socket (measured: 14 times slower). When very many join at once, as after a gateway is gone, others have their turns in
 * between.
 */
export class ReceivedFrames<From> {
  readonly #handle: (connection: From, frame: string | Buffer) => void;
  readonly #now: () => number;
  #waiting: Received<From>[] = [];
  #isHandling = false;
  #published = 0;

  constructor({ handle, now = () => performance.now() }: ReceivedFramesOptions<From>) {
    this.#handle = handle;
    this.#now = now;
  }

  add(connection: From, frame: string | Buffer): void {
    this.#waiting.push({ connection, frame });
    this.#handleSoon();
  }

  /** To be called for what is published, by a frame that is handled or otherwise. */
  published(): void {
    this.#published++;
  }

  /** Handles what has come from one connection, now. */
  handleAllOf(connection: From): void {
    const own = this.#waiting.filter((one) => one.connection === connection);
    if (own.length === 0) return;
    this.#waiting = this.#waiting.filter((one) => one.connection !== connection);
    for (const { frame } of own) this.#handle(connection, frame);
  }

  #handleTurn(): void {
    this.#isHandling = false;
    this.#published = 0;
    const startedMs = this.#now();
    for (let one = this.#waiting.shift(); one !== undefined; one = this.#waiting.shift()) {
      this.#handle(one.connection, one.frame);
      const limitMs = this.#published > 0 ? publishing.turnMs : turnMs;
      if (this.#published >= publishing.frames || this.#now() - startedMs >= limitMs) break;
    }
    if (this.#waiting.length > 0) this.#handleSoon();
  }

  #handleSoon(): void {
    if (this.#isHandling) return;
    this.#isHandling = true;
    setImmediate(() => this.#handleTurn());
  }
}
