import { createRemoteJWKSet } from "jose";
import { KeysUnavailableError } from "./errors.ts";
import { isSymmetric, orUndefined, type KeySet, type TokenHeader, type VerificationKey } from "./key-set.ts";

export interface RemoteKeySetOptions {
  readonly url: URL;
  /** Older keys are fetched anew, behind the back of those who use them. */
  readonly maxAgeMs: number;
  /** A key nobody knows is asked for at most this often: anyone can send tokens that name such keys. */
  readonly cooldownMs: number;
  readonly timeoutMs?: number;
  /** Told when the set cannot be fetched, and when it can again (undefined). */
  readonly onTrouble?: (trouble: KeysUnavailableError | undefined) => void;
  /** Told whenever the set was fetched: its keys may be others than before. */
  readonly onFetched?: () => void;
  /** Milliseconds of a clock that does not jump. */
  readonly now?: () => number;
}

/** After a failure the set is asked for again after this long at the earliest. */
const retryMs = 1_000;

/**
 * The keys behind a URL. jose fetches and reads them; when that happens is decided here, because its own cache makes
 * everybody wait, and refuses everybody, from the moment on that the keys are too old. Here keys once seen serve on for as
 * long as the URL does not answer.
 */
export class RemoteKeySet implements KeySet {
  readonly #options: RemoteKeySetOptions;
  readonly #remote: ReturnType<typeof createRemoteJWKSet>;
  readonly #now: () => number;
  #fetching: Promise<void> | undefined;
  #fetchedMs: number | undefined;
  #attemptedMs = Number.NEGATIVE_INFINITY;
  #trouble: KeysUnavailableError | undefined;

  constructor(options: RemoteKeySetOptions) {
    this.#options = options;
    this.#now = options.now ?? ((): number => performance.now());
    this.#remote = createRemoteJWKSet(options.url, {
      cacheMaxAge: Number.POSITIVE_INFINITY,
      cooldownDuration: Number.POSITIVE_INFINITY,
      timeoutDuration: options.timeoutMs ?? 5_000,
    });
  }

  /** Fetches the keys; worth calling before the first client comes. Throws KeysUnavailableError. */
  async load(): Promise<void> {
    await this.#fetch();
  }

  async find(header: TokenHeader): Promise<VerificationKey | undefined> {
    if (isSymmetric(header)) return undefined; // a secret is not published at a URL
    if (this.#fetchedMs === undefined) {
      if (this.#fetching === undefined && this.#sinceAttempt() < retryMs) throw this.#unavailable();
      await this.#fetch();
    } else if (this.#now() - this.#fetchedMs > this.#options.maxAgeMs && this.#sinceAttempt() >= retryMs) {
      this.#fetch().catch(() => undefined); // onTrouble heard of it
    }
    const known = await orUndefined(this.#remote(header));
    if (known !== undefined) return known;
    const waitMs = this.#trouble === undefined ? this.#options.cooldownMs : retryMs;
    if (this.#fetching === undefined && this.#sinceAttempt() < waitMs) {
      if (this.#trouble !== undefined) throw this.#trouble; // it may be a key that was added meanwhile
      return undefined;
    }
    await this.#fetch();
    return await orUndefined(this.#remote(header));
  }

  #sinceAttempt = (): number => this.#now() - this.#attemptedMs;

  #unavailable = (): KeysUnavailableError => this.#trouble ?? new KeysUnavailableError(shown(this.#options.url));

  /** One fetch at a time, whoever asks. */
  #fetch(): Promise<void> {
    this.#fetching ??= this.#fetchOnce();
    return this.#fetching;
  }

  async #fetchOnce(): Promise<void> {
    const { url, onTrouble, onFetched } = this.#options;
    this.#attemptedMs = this.#now();
    try {
      await this.#remote.reload().finally(() => (this.#fetching = undefined));
    } catch (cause) {
      this.#trouble = new KeysUnavailableError(shown(url), { cause });
      onTrouble?.(this.#trouble);
      throw this.#trouble;
    }
    this.#fetchedMs = this.#now();
    onFetched?.();
    if (this.#trouble !== undefined) onTrouble?.(undefined);
    this.#trouble = undefined;
  }
}

/** Without what may be secret in it. */
const shown = ({ origin, pathname }: URL): string => `${origin}${pathname}`;
