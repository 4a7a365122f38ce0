import type { ClientFrame } from "@walcast/protocol";

export interface FrameQueueOptions {
  /** A promise when frames behind this one have to wait for it. */
  readonly handle: (frame: ClientFrame) => Promise<void> | undefined;
  readonly onError: (error: unknown) => void;
  /** More waits than is sensible; nothing is taken any more. */
  readonly onOverflow: () => void;
}

/** What may wait behind a join whose token is being verified: frames, and characters or bytes of them. */
const limit = { frames: 1_000, size: 16 * 1024 * 1024 };

/** The frames of one client, one after the other: a join blocks those behind it (protocol.md 8.2). */
export class FrameQueue {
  readonly #options: FrameQueueOptions;
  #waiting: ClientFrame[] = [];
  #size = 0;
  #isBusy = false;
  #isClosed = false;

  constructor(options: FrameQueueOptions) {
    this.#options = options;
  }

  add(frame: ClientFrame, size: number): void {
    if (this.#isClosed) return;
    if (!this.#isBusy) return this.#take(frame);
    this.#size += size;
    this.#waiting.push(frame);
    if (this.#waiting.length <= limit.frames && this.#size <= limit.size) return;
    this.close();
    this.#options.onOverflow();
  }

  /** What waits is dropped. */
  close(): void {
    this.#isClosed = true;
    this.#waiting = [];
  }

  #take(frame: ClientFrame): void {
    const { onError } = this.#options;
    const handling = this.#handle(frame);
    if (handling === undefined) return;
    this.#isBusy = true;
    handling.catch(onError).finally(() => {
      this.#isBusy = false;
      while (!this.#isBusy) {
        const next = this.#waiting.shift();
        if (next === undefined) {
          this.#size = 0;
          return;
        }
        this.#take(next);
      }
    });
  }

  /** What one frame does to us is no reason to end: everybody else is served by the same process. */
  #handle(frame: ClientFrame): Promise<void> | undefined {
    try {
      return this.#options.handle(frame);
    } catch (error) {
      this.#options.onError(error);
      return undefined;
    }
  }
}
