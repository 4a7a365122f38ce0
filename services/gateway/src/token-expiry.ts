import type { Claims } from "@walcast/authz";

export interface TokenExpiryOptions {
  /** In milliseconds since 1970. */
  readonly now: () => number;
  readonly onExpired: (secondsAgo: number) => void;
}

/** A token is looked at again after this long at the latest (protocol.md 4.9). */
const recheckMs = 5 * 60_000;

/** Watches for the end of a channel's token, the newest one that it was given. */
export class TokenExpiry {
  readonly #options: TokenExpiryOptions;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: TokenExpiryOptions) {
    this.#options = options;
  }

  watch(claims: Claims): void {
    this.stop();
    const { now, onExpired } = this.#options;
    const leftMs = claims.exp * 1000 - now();
    this.#timer = setTimeout(
      () => {
        const lateMs = now() - claims.exp * 1000;
        if (lateMs < 0) this.watch(claims);
        else onExpired(Math.round(lateMs / 1000));
      },
      Math.max(0, Math.min(recheckMs, leftMs)),
    );
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
