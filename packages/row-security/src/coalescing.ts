/**
 * Starts what answers a question. `seal` is called when the answer begins to be looked for: who asks after that gets an
 * answer of its own. The signal fires when nobody waits any more.
 */
export type StartAnswer<T> = (parts: { readonly signal: AbortSignal; readonly seal: () => void }) => Promise<T>;

/** Who asks what is being asked already gets the same answer. What nobody waits for any more is called off. */
export class Coalescing<T> {
  readonly #running = new Map<string, Running<T>>();

  async run(key: string, start: StartAnswer<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    const running = this.#running.get(key) ?? this.#start(key, start);
    running.waiting++;
    const { promise: left, reject } = Promise.withResolvers<never>();
    const leave = (): void => reject(signal?.reason);
    signal?.addEventListener("abort", leave, { once: true });
    try {
      return await Promise.race([running.answer, left]);
    } finally {
      signal?.removeEventListener("abort", leave);
      if (--running.waiting === 0) {
        this.#forget(key, running);
        if (!running.isOver) running.stop.abort(); // an abort makes an error with a stack
      }
    }
  }

  #start(key: string, start: StartAnswer<T>): Running<T> {
    const stop = new AbortController();
    let isSealed = false;
    const seal = (): void => {
      isSealed = true;
      if (running !== undefined) this.#forget(key, running);
    };
    let running: Running<T> | undefined;
    const begun: Running<T> = { answer: start({ signal: stop.signal, seal }), stop, waiting: 0, isOver: false };
    running = begun;
    const over = (): void => {
      begun.isOver = true;
      seal();
    };
    begun.answer.then(over, over);
    if (!isSealed) this.#running.set(key, begun);
    return begun;
  }

  #forget(key: string, running: Running<T>): void {
    if (this.#running.get(key) === running) this.#running.delete(key);
  }
}

interface Running<T> {
  readonly answer: Promise<T>;
  readonly stop: AbortController;
  waiting: number;
  isOver: boolean;
}
