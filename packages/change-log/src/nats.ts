import type { NatsConnection } from "@nats-io/nats-core";
import { connect } from "@nats-io/transport-node";
import { ChangeLogUnavailableError } from "./errors.ts";
import { natsOptions } from "./nats-options.ts";
import { readNats } from "./nats-reader.ts";
import { NatsWriter, type NatsWriterSettings } from "./nats-writer.ts";
import type { ChangeLog, ChangeLogWriter, Reading, ReadOptions } from "./ports.ts";

export interface NatsChangeLogOptions {
  /** Names the database and slot the changes come from. */
  readonly source: string;
  /** For who writes; a reader has none. */
  readonly writing?: Omit<NatsWriterSettings, "source">;
  /** One URL or several, separated by commas. */
  readonly url: string;
  /** Shown by the server for this connection. */
  readonly name: string;
  /** Resolves after a while, or when the signal fires; grows with each failure in a row. */
  readonly backoff: (failures: number, signal: AbortSignal) => Promise<void>;
}

/** The change log on NATS JetStream. */
export class NatsChangeLog implements ChangeLog {
  readonly #nc: NatsConnection;
  readonly #options: NatsChangeLogOptions;

  private constructor(nc: NatsConnection, options: NatsChangeLogOptions) {
    this.#nc = nc;
    this.#options = options;
  }

  /** Connects once; later disconnects heal by themselves. Throws ChangeLogUnavailableError. */
  static async connect(options: NatsChangeLogOptions): Promise<NatsChangeLog> {
    try {
      const nc = await connect({
        ...natsOptions(options.url),
        name: options.name,
        timeout: 5_000,
        maxReconnectAttempts: -1,
        ignoreAuthErrorAbort: true, // it would give up for good at the second refusal, however long after the first
        reconnectTimeWait: 250,
        reconnectJitter: 250,
        pingInterval: 10_000,
        maxPingOut: 2,
      });
      return new NatsChangeLog(nc, options);
    } catch (cause) {
      throw new ChangeLogUnavailableError("cannot connect to NATS", { cause });
    }
  }

  /** For subjects beside the log: heartbeats, broadcasts. */
  get connection(): NatsConnection {
    return this.#nc;
  }

  async openWriter(): Promise<ChangeLogWriter> {
    const { source, writing } = this.#options;
    if (writing === undefined) throw new Error("this change log was connected for reading only");
    return await NatsWriter.open(this.#nc, { ...writing, source });
  }

  read(options: ReadOptions): Promise<Reading> {
    return readNats({ ...options, nc: this.#nc, source: this.#options.source, backoff: this.#options.backoff });
  }

  async close(): Promise<void> {
    await this.#nc.close();
  }
}
