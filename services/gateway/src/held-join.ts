import type { ChangesWait, JoinRequest } from "@walcast/protocol";

export interface HeldJoinOptions {
  readonly wait: ChangesWait;
  /** Answers the join: the channel receives changes from now on. */
  readonly onLive: () => void;
  /** Answers the join with an error: there is no channel. */
  readonly onRefused: (reason: string) => void;
}

/** A join that is answered when its channel receives changes, and not before (protocol.md 4.12). It is answered once. */
export class HeldJoin {
  readonly #options: HeldJoinOptions;
  readonly #timer: NodeJS.Timeout;
  #isWaiting = true;

  constructor(options: HeldJoinOptions) {
    this.#options = options;
    const { timeoutMs } = options.wait;
    const timedOut = `PostgresChangesSubscribeTimeout: Timed out after ${timeoutMs}ms waiting for the postgres_changes subscription`;
    this.#timer = setTimeout(() => this.#refuse(timedOut), timeoutMs);
  }

  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  live(): void {
    if (this.end()) this.#options.onLive();
  }

  /** It cannot be subscribed; `message` is what other channels are told in a `system` message. */
  disabled(message: string): void {
    this.#refuse(`RealtimeDisabledForConfiguration: ${message}`);
  }

  /** No answer any more; `false` when there was one. */
  end(): boolean {
    const wasWaiting = this.#isWaiting;
    this.#isWaiting = false;
    clearTimeout(this.#timer);
    return wasWaiting;
  }

  #refuse(reason: string): void {
    if (this.end()) this.#options.onRefused(reason);
  }
}

/** `undefined` for a join that is answered at once: it does not ask to wait, or for no changes that could be waited for. */
export const heldJoin = (request: JoinRequest, answers: Omit<HeldJoinOptions, "wait">): HeldJoin | undefined =>
  request.tag === "legacy" || request.wait === undefined || request.postgresChanges.length === 0
    ? undefined
    : new HeldJoin({ ...answers, wait: request.wait });
