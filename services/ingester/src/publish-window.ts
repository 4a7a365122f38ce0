/**
 * The one place where ingesting waits: a bounded number of bytes may be on their way to the log. A batch larger than the
 * window passes when it is alone.
 */
export class PublishWindow {
  readonly #limitBytes: number;
  #inFlightBytes = 0;
  #inFlight = 0;
  #failure: { readonly error: unknown } | undefined;
  #changed = Promise.withResolvers<void>();

  constructor({ limitBytes }: { readonly limitBytes: number }) {
    this.#limitBytes = limitBytes;
  }

  get inFlightBytes(): number {
    return this.#inFlightBytes;
  }

  /** Watches one append; resolves when there is room for the next. Rejects, now or later, when any append failed. */
  async admit(bytes: number, append: Promise<void>): Promise<void> {
    this.#inFlightBytes += bytes;
    this.#inFlight++;
    append.then(
      () => this.#settle(bytes, undefined),
      (error: unknown) => this.#settle(bytes, { error }),
    );
    while (this.#inFlightBytes >= this.#limitBytes && this.#inFlight > 0) await this.#change();
    this.throwIfFailed();
  }

  throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Resolves when nothing is in flight any more. Rejects when an append failed. */
  async drained(): Promise<void> {
    while (this.#inFlight > 0) await this.#change();
    this.throwIfFailed();
  }

  /** Rejects when an append fails; never resolves. For a loop that waits on something else meanwhile. */
  async failed(): Promise<never> {
    for (;;) {
      this.throwIfFailed();
      await this.#changed.promise;
    }
  }

  async #change(): Promise<void> {
    this.throwIfFailed();
    await this.#changed.promise;
  }

  #settle(bytes: number, failure: { readonly error: unknown } | undefined): void {
    this.#inFlightBytes -= bytes;
    this.#inFlight--;
    this.#failure ??= failure;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
