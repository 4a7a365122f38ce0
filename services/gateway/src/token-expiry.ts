import type { Claims } from "@walcast/authz";

export interface TokenExpiryOptions {
  /** In milliseconds since 1970. */
  readonly now: () => number;
  /** It ends this long after its `exp`. */
  readonly toleranceMs?: number;
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
    const { now, toleranceMs = 0, onExpired } = this.#options;
    const leftMs = (): number => claims.exp * 1000 + toleranceMs - now();
    this.#timer = setTimeout(
      () => {
        if (leftMs() > 0) this.watch(claims);
        else onExpired(Math.round((now() - claims.exp * 1000) / 1000));
      },
      Math.max(0, Math.min(recheckMs, leftMs())),
    );
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
