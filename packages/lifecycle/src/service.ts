/** Something that runs until it is told to stop. */
export interface Service {
  readonly name: string;
  /** Resolves when the signal fires; rejects when it cannot go on, and the runner starts it again after a while. */
  run(signal: AbortSignal): Promise<void>;
  /** Lets go of clients and work in good order before the signal fires. Twice is the same as once. */
  drain?(): Promise<void>;
}
