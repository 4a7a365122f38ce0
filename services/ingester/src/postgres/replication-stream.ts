import { formatLsn, toLsn, type Lsn } from "@walcast/model";
import { ProtocolError } from "@walcast/pgoutput";
import { endClient, sessionOptions, streamOf, type Database } from "@walcast/postgres";
import { escapeIdentifier, escapeLiteral, type Client } from "pg";
import { LogicalReplicationService } from "pg-logical-replication";
import { PublicationTooYoungError, ReplicationLostError } from "../errors.ts";
import { divertCopyData } from "./copy-data.ts";
import { explain } from "./preflight.ts";
import { replicationName } from "./slot.ts";

/** What was read from the socket since the last time. */
export interface Turn {
  /** pgoutput messages in order. */
  readonly messages: readonly Uint8Array[];
  /** The server has nothing before this LSN that it has not sent; only when it came after all messages. */
  readonly keepaliveLsn: Lsn | undefined;
  /** The socket has nothing more to read at the moment. */
  readonly isIdle: boolean;
}

export interface ReplicationStreamOptions {
  readonly database: Database;
  readonly slot: string;
  readonly publications: readonly string[];
  /** Transactions that committed before it are not sent; 0/0: where the slot stands. */
  readonly from: Lsn;
  /** What may be confirmed to the server now. Asked on a timer, so that a slow log cannot trip wal_sender_timeout. */
  readonly confirmable: () => Lsn;
  readonly statusIntervalMs?: number;
  /** A server that is silent this long, though asked to answer, is gone. */
  readonly silenceLimitMs?: number;
}

/** Unread bytes at which the socket is paused, and TCP makes the walsender wait. */
const queueLimitBytes = 4 * 1024 * 1024;

const tagXLogData = 0x77;
/** Tag, start and end of the WAL data, and the time of sending. */
const xLogDataHeaderBytes = 25;
const tagKeepalive = 0x6b;
/** After the tag, the end of WAL and the time of sending: whether to answer at once. */
const keepaliveReplyAt = 17;

interface PluginOptions {
  readonly publications: readonly string[];
  /** Where its messages go. */
  readonly diverted: Parameters<typeof divertCopyData>[1];
}

/**
 * Starts pgoutput and takes its messages straight from the socket: the library's way, two objects, two events and the LSN
 * as text for each message, costs as much as all the rest of a row.
 */
class RawPlugin {
  readonly name = "pgoutput";
  readonly options: PluginOptions;
  client: Client | undefined;

  constructor(options: PluginOptions) {
    this.options = options;
  }

  start(client: Client, slot: string, from: string): Promise<unknown> {
    this.client = client;
    const socket = streamOf(client);
    if (socket !== undefined) divertCopyData(socket, this.options.diverted);
    const names = this.options.publications.map((name) => escapeIdentifier(name)).join(",");
    return client.query(
      `START_REPLICATION SLOT ${escapeIdentifier(slot)} LOGICAL ${from} ` +
        `(proto_version '1', publication_names ${escapeLiteral(names)}, messages 'true')`,
    );
  }

  parse(): never {
    throw new ProtocolError("d", 0, "a CopyData message went the library's way");
  }
}

/**
 * The replication connection. The library's own acknowledging stays off in both forms, automatic and by timer: they would
 * confirm what was merely received.
 */
export class ReplicationStream {
  readonly #options: ReplicationStreamOptions;
  readonly #plugin: RawPlugin;
  readonly #service: LogicalReplicationService;
  #messages: Uint8Array[] = [];
  #queuedBytes = 0;
  #keepaliveLsn: Lsn | undefined;
  #isPaused = false;
  #arrived = Promise.withResolvers<void>();
  #failure: Error | undefined;
  #lastHeardMs = performance.now();
  #timer: NodeJS.Timeout | undefined;

  private constructor(options: ReplicationStreamOptions) {
    this.#options = options;
    this.#plugin = new RawPlugin({
      publications: options.publications,
      diverted: {
        copyData: (bytes, start, end) => this.#onCopyData(bytes, start, end),
        chunkEnd: () => this.#onChunk(),
      },
    });
    this.#service = new LogicalReplicationService(
      { ...options.database, application_name: replicationName, options: sessionOptions },
      { acknowledge: { auto: false, timeoutSeconds: 0 } },
    );
  }

  /** Resolves when the server streams. Throws DatabaseUnavailableError and the errors of `explain`. */
  static async start(options: ReplicationStreamOptions): Promise<ReplicationStream> {
    const stream = new ReplicationStream(options);
    try {
      await stream.#start();
      return stream;
    } catch (error) {
      await stream.stop();
      throw error;
    }
  }

  async #start(): Promise<void> {
    const service = this.#service;
    const started = Promise.withResolvers<void>();
    service.on("start", () => started.resolve());
    service.on("error", (error: Error) => this.#fail(error));
    const ended = (error: unknown): void => {
      started.reject(error); // where it came before the start, nobody else would tell
      this.#fail(error);
    };
    service.subscribe(this.#plugin, this.#options.slot, formatLsn(this.#options.from)).then(
      () => ended(new ReplicationLostError("the server ended it")),
      (error: unknown) => ended(explain(error, this.#options.slot)),
    );
    await started.promise;
    const { statusIntervalMs = 1000 } = this.#options;
    this.#timer = setInterval(() => this.#sendStatus(), statusIntervalMs);
  }

  /** What the socket brings, as it comes. Ends when the signal fires; throws when the connection is lost. */
  async *turns(signal: AbortSignal): AsyncGenerator<Turn> {
    const wake = (): void => this.#arrived.resolve();
    signal.addEventListener("abort", wake, { once: true });
    let wasIdle = true;
    try {
      while (!signal.aborted) {
        if (this.#failure !== undefined) throw this.#failure;
        if (this.#hasNews) {
          wasIdle = false;
          yield this.#take({ isIdle: false });
        } else if (!wasIdle && (await this.#isQuiet())) {
          wasIdle = true;
          yield this.#take({ isIdle: true });
        } else if (wasIdle) {
          await this.#arrived.promise;
          this.#arrived = Promise.withResolvers();
        }
      }
    } finally {
      signal.removeEventListener("abort", wake);
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    const { client } = this.#plugin;
    this.#service.on("error", () => undefined); // what a dying connection still has to say
    if (client !== undefined) await endClient(client);
    await this.#service.destroy().catch(() => undefined);
  }

  get #hasNews(): boolean {
    return this.#messages.length > 0 || this.#keepaliveLsn !== undefined;
  }

  /** Two turns of the event loop include a whole poll of the sockets: if nothing came, nothing was readable. */
  async #isQuiet(): Promise<boolean> {
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    return !this.#hasNews;
  }

  #take({ isIdle }: { isIdle: boolean }): Turn {
    const turn = { messages: this.#messages, keepaliveLsn: this.#keepaliveLsn, isIdle };
    this.#messages = [];
    this.#queuedBytes = 0;
    this.#keepaliveLsn = undefined;
    if (this.#isPaused) {
      this.#isPaused = false;
      this.#lastHeardMs = performance.now();
      this.#socket?.resume();
    }
    return turn;
  }

  get #socket(): ReturnType<typeof streamOf> {
    return this.#plugin.client === undefined ? undefined : streamOf(this.#plugin.client);
  }

  /** XLogData or a keepalive (PostgreSQL manual, "Streaming Replication Protocol"). */
  #onCopyData(bytes: Buffer, start: number, end: number): void {
    const tag = bytes[start];
    if (tag === tagXLogData) {
      this.#messages.push(bytes.subarray(start + xLogDataHeaderBytes, end));
      this.#queuedBytes += end - start;
      this.#keepaliveLsn = undefined;
    } else if (tag === tagKeepalive) {
      this.#keepaliveLsn = toLsn(bytes.readBigUInt64BE(start + 1));
      if (bytes[start + keepaliveReplyAt] === 1) this.#sendStatus();
    } else this.#fail(new ProtocolError(String.fromCharCode(tag ?? 0), 0, "unknown CopyData message"));
  }

  #onChunk(): void {
    this.#lastHeardMs = performance.now();
    if (this.#queuedBytes > queueLimitBytes && !this.#isPaused) {
      this.#isPaused = true;
      this.#socket?.pause();
    }
    this.#arrived.resolve();
  }

  #sendStatus(): void {
    const silentMs = performance.now() - this.#lastHeardMs;
    const { silenceLimitMs = 30_000 } = this.#options;
    if (!this.#isPaused && silentMs > silenceLimitMs) {
      this.#fail(new ReplicationLostError(`silent for ${Math.round(silentMs / 1000)} s`));
      return;
    }
    // The library confirms the byte after what it is given; a flushed LSN is that byte already.
    const confirmable = this.#options.confirmable();
    const lsn = formatLsn(toLsn(confirmable > 0n ? confirmable - 1n : 0n));
    void this.#service.acknowledge(lsn, silentMs > silenceLimitMs / 3).catch((error: unknown) => this.#fail(error));
  }

  #fail(error: unknown): void {
    this.#failure ??=
      error instanceof PublicationTooYoungError || error instanceof ReplicationLostError
        ? error
        : new ReplicationLostError(error instanceof Error ? error.message : String(error), {
            cause: error,
          });
    this.#arrived.resolve();
  }
}
