export interface PublishWindowOptions {
  readonly limitBytes: number;
  /** What a batch in flight costs besides its own bytes; very many small ones would pass for little. */
  readonly overheadBytes?: number;
  /** Told how much is in flight whenever that changes. */
  readonly onChange?: (inFlightBytes: number) => void;
}

/**
 * The one place where ingesting waits: a bounded number of bytes may be on their way to the log. A batch larger than the
 * window passes when it is alone.
 */
export class PublishWindow {
  readonly #limitBytes: number;
  readonly #overheadBytes: number;
  readonly #onChange: PublishWindowOptions["onChange"];
  #inFlightBytes = 0;
  #inFlight = 0;
  #failure: { readonly error: unknown } | undefined;
  #changed = Promise.withResolvers<void>();

  constructor({ limitBytes, overheadBytes = 0, onChange }: PublishWindowOptions) {
    this.#limitBytes = limitBytes;
    this.#overheadBytes = overheadBytes;
    this.#onChange = onChange;
  }

  get inFlightBytes(): number {
    return this.#inFlightBytes;
  }

  /** Watches one append; resolves when there is room for the next. Rejects, now or later, when any append failed. */
  async admit(bytes: number, append: Promise<void>): Promise<void> {
    const weight = bytes + this.#overheadBytes;
    this.#inFlightBytes += weight;
    this.#inFlight++;
    this.#onChange?.(this.#inFlightBytes);
    append.then(
      () => this.#settle(weight, undefined),
      (error: unknown) => this.#settle(weight, { error }),
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
    this.#onChange?.(this.#inFlightBytes);
    this.#inFlight--;
    this.#failure ??= failure;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
