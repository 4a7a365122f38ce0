import { Redis } from "ioredis";
import { RedisUnavailableError } from "./errors.ts";

export interface RedisConnectionOptions {
  /** `redis://…` or `rediss://…`, with user, password and database as usual. */
  readonly url: string;
  /** For `rediss`: the certificate to verify with, as PEM; else the system's. */
  readonly ca?: string | undefined;
  /** Shown by the server for this connection. */
  readonly name: string;
  /** Told when Redis is away, again with each failed attempt, and when it is there (undefined). */
  readonly onTrouble: (trouble: Error | undefined) => void;
}

/** Longer than any command of ours takes, and shorter than anybody's lease. */
const commandTimeoutMs = 2_000;
const connectTimeoutMs = 3_000;
const reconnect = { stepMs: 100, maxMs: 1_000 };

/** A connection that never gives up, and on which nothing waits: what cannot be sent now has failed. */
export class RedisConnection {
  readonly #client: Redis;
  /** The first attempt to connect is over, one way or the other. */
  readonly #tried = Promise.withResolvers<void>();
  #hasTried = false;
  #trouble: RedisUnavailableError | undefined;
  #isClosed = false;

  private constructor({ url, ca, name, onTrouble }: RedisConnectionOptions) {
    this.#client = new Redis(url, {
      ...(ca !== undefined && url.startsWith("rediss:") ? { tls: { ca } } : {}),
      connectionName: name,
      connectTimeout: connectTimeoutMs,
      // A command that was sent twice, or late, would undo what came after it.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      retryStrategy: (attempts) => Math.min(reconnect.maxMs, attempts * reconnect.stepMs) * (0.5 + Math.random() / 2),
    });
    const tried = (): void => {
      this.#hasTried = true;
      this.#tried.resolve();
    };
    let cause: unknown;
    this.#client.on("error", (error) => (cause = error)); // `close` follows
    this.#client.on("close", () => {
      this.#trouble = new RedisUnavailableError("Redis cannot be reached", { cause });
      tried();
      if (!this.#isClosed) onTrouble(this.#trouble);
    });
    this.#client.on("ready", () => {
      cause = undefined;
      this.#trouble = undefined;
      tried();
      onTrouble(undefined);
    });
  }

  /** Begins to connect. Throws TypeError when the URL is none. */
  static open(options: RedisConnectionOptions): RedisConnection {
    return new RedisConnection(options);
  }

  /** Throws RedisUnavailableError, also for what Redis refuses. Only the very first connection is waited for. */
  async run<T>(command: (client: Redis) => Promise<T>): Promise<T> {
    if (!this.#hasTried) await this.#tried.promise;
    if (this.#trouble !== undefined) throw this.#trouble; // which says more than the library would
    const silence = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      silence.reject(new Error(`no answer in ${commandTimeoutMs} ms`));
      // Its answer may come much later, or never; on a new connection nothing is in doubt.
      if (!this.#isClosed) this.#client.disconnect(true);
    }, commandTimeoutMs);
    try {
      return await Promise.race([command(this.#client), silence.promise]);
    } catch (cause) {
      throw new RedisUnavailableError("a command failed", { cause });
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#client.disconnect();
  }
}
