import { randomBytes } from "node:crypto";
import { headers, type Msg, type NatsConnection, type Subscription } from "@nats-io/nats-core";
import { natsOptions } from "@walcast/change-log";
import { connect } from "@nats-io/transport-node";
import { BusMessageTooLargeError, BusMisfitError, BusUnavailableError } from "./errors.ts";
import { formatPart, parsePart, partHeader, PartJoiner } from "./parts.ts";
import { messageBytesLimit, type Address, type Bus, type BusHandler } from "./ports.ts";
import { addressSubject } from "./subjects.ts";

export interface NatsBusOptions {
  /** Names the database and slot that the gateways serve; others are not heard. */
  readonly source: string;
  /** One URL or several, separated by commas. */
  readonly url: string;
  /** Shown by the server for this connection. */
  readonly name: string;
  /** Told when the network is away and when it is there (undefined). The bus never gives up by itself. */
  readonly onTrouble: (trouble: Error | undefined) => void;
  /** Resolves after a while, or when the signal fires; grows with each failure in a row. */
  readonly backoff: (failures: number, signal: AbortSignal) => Promise<void>;
}

/** Room for the header of a part within max_payload. */
const partMarginBytes = 512;
/** After this much the server is asked whether it has read it. */
const flushEveryBytes = 1024 * 1024;
/** What a server that stopped reading may leave unread here before more is dropped. */
const unreadLimitBytes = 64 * 1024 * 1024;
const joining = { limitBytes: 2 * messageBytesLimit, limitSenders: 1_000, expiryMs: 10_000 };

interface SubjectSubscription {
  readonly handlers: Set<BusHandler>;
  /** On the connection that stands now. */
  onServer: Subscription | undefined;
}

/**
 * The bus on core NATS, with a connection of its own: `noEcho` is a property of the connection.
 *
 *     away ─connected─► up ─connection lost─► away      (subscriptions are kept, and made again on the server)
 */
export class NatsBus implements Bus {
  readonly #options: NatsBusOptions;
  readonly #subscriptions = new Map<string, SubjectSubscription>();
  readonly #joiner = new PartJoiner(joining);
  readonly #sender = randomBytes(9).toString("base64url");
  readonly #closed = new AbortController();
  #nc: NatsConnection | undefined;
  #isUp = false;
  #messagesInParts = 0;
  #unreadBytes = 0;
  #unaskedBytes = 0;
  #expiry: NodeJS.Timeout | undefined;

  private constructor(options: NatsBusOptions) {
    this.#options = options;
  }

  /** Begins to connect, and can be used at once. */
  static open(options: NatsBusOptions): NatsBus {
    const bus = new NatsBus(options);
    void bus.#stayConnected();
    return bus;
  }

  publish(address: Address, bytes: Uint8Array): "sent" | "away" {
    if (bytes.length > messageBytesLimit) throw new BusMessageTooLargeError(bytes.length, messageBytesLimit);
    const nc = this.#nc;
    if (nc === undefined || !this.#isUp || this.#unreadBytes > unreadLimitBytes) return "away";
    const subject = addressSubject(this.#options.source, address);
    const limit = partBytesLimit(nc);
    if (limit === undefined) return "away";
    if (bytes.length <= limit) nc.publish(subject, bytes);
    else this.#publishParts(nc, subject, { bytes, limit });
    this.#count(nc, bytes.length);
    return "sent";
  }

  subscribe(address: Address, handler: BusHandler): () => void {
    const subject = addressSubject(this.#options.source, address);
    const own: BusHandler = (bytes) => handler(bytes); // one subscription each, also for the same function
    const known = this.#subscriptions.get(subject);
    const subscription = known ?? { handlers: new Set(), onServer: undefined };
    subscription.handlers.add(own);
    if (known === undefined) {
      this.#subscriptions.set(subject, subscription);
      if (this.#nc !== undefined) this.#subscribeOnServer(this.#nc, subject, subscription);
    }
    return () => {
      subscription.handlers.delete(own);
      if (subscription.handlers.size > 0 || this.#subscriptions.get(subject) !== subscription) return;
      this.#subscriptions.delete(subject);
      subscription.onServer?.unsubscribe();
    };
  }

  async flush(): Promise<void> {
    if (this.#isUp) await this.#nc?.flush().catch(() => undefined); // away by now
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#subscriptions.clear();
    clearTimeout(this.#expiry);
    await this.#nc?.close();
  }

  /** The library connects again by itself, but not the first time, nor when the server refused it. */
  async #stayConnected(): Promise<void> {
    const { onTrouble, backoff } = this.#options;
    const { signal } = this.#closed;
    for (let failures = 0; !signal.aborted; await backoff(failures, signal)) {
      try {
        const nc = await this.#connect();
        if (signal.aborted) return await nc.close();
        failures = 0;
        await this.#useUntilClosed(nc);
        failures = 1;
      } catch (cause) {
        failures++;
        if (!signal.aborted) onTrouble(asTrouble("cannot connect to NATS", cause));
      }
    }
  }

  async #connect(): Promise<NatsConnection> {
    const { url, name } = this.#options;
    const nc = await connect({
      ...natsOptions(url),
      name,
      noEcho: true,
      timeout: 5_000,
      maxReconnectAttempts: -1,
      ignoreAuthErrorAbort: true,
      reconnectTimeWait: 250,
      reconnectJitter: 250,
      pingInterval: 10_000,
      maxPingOut: 2,
    });
    if (partBytesLimit(nc) !== undefined) return nc;
    await nc.close();
    throw new BusMisfitError(`the NATS server's max_payload is ${nc.info?.max_payload} bytes; raise it`);
  }

  async #useUntilClosed(nc: NatsConnection): Promise<void> {
    const { onTrouble } = this.#options;
    this.#nc = nc;
    for (const [subject, subscription] of this.#subscriptions) this.#subscribeOnServer(nc, subject, subscription);
    this.#setUp(true);
    for await (const status of nc.status()) {
      if (status.type === "reconnect") this.#setUp(true);
      if (status.type !== "disconnect") continue;
      this.#setUp(false);
      if (!this.#closed.signal.aborted) onTrouble(new BusUnavailableError("the connection to NATS was lost"));
    }
    this.#setUp(false);
    this.#nc = undefined;
    const error = await nc.closed();
    if (!this.#closed.signal.aborted) onTrouble(asTrouble("NATS closed the connection", error));
  }

  #setUp(isUp: boolean): void {
    this.#isUp = isUp;
    this.#unreadBytes = this.#unaskedBytes = 0;
    if (isUp) this.#options.onTrouble(undefined);
  }

  #subscribeOnServer(nc: NatsConnection, subject: string, subscription: SubjectSubscription): void {
    subscription.onServer = nc.subscribe(subject, {
      callback: (error, message) => {
        if (error !== null) return; // of the connection, which its status tells
        const bytes = this.#whole(message);
        if (bytes === undefined) return;
        for (const handler of subscription.handlers) handler(bytes);
      },
    });
  }

  #publishParts(nc: NatsConnection, subject: string, message: { bytes: Uint8Array; limit: number }): void {
    const { bytes, limit } = message;
    const count = Math.ceil(bytes.length / limit);
    const number = ++this.#messagesInParts;
    for (let index = 1; index <= count; index++) {
      const part = headers();
      part.set(partHeader, formatPart({ sender: this.#sender, message: number, index, count }));
      nc.publish(subject, bytes.subarray((index - 1) * limit, index * limit), { headers: part });
    }
  }

  #whole({ data, headers: given }: Msg): Uint8Array | undefined {
    const text = given?.get(partHeader) ?? "";
    if (text === "") return data;
    const part = parsePart(text);
    if (part === undefined) return undefined;
    const whole = this.#joiner.add(part, data, performance.now());
    if (!this.#joiner.isEmpty) this.#expiry ??= this.#startExpiry();
    return whole;
  }

  #startExpiry(): NodeJS.Timeout {
    return setTimeout(() => {
      this.#joiner.expire(performance.now());
      this.#expiry = this.#joiner.isEmpty ? undefined : this.#startExpiry();
    }, joining.expiryMs).unref();
  }

  /** The library buffers without limit for a server that stopped reading, so we count what has not been read. */
  #count(nc: NatsConnection, bytes: number): void {
    this.#unreadBytes += bytes;
    this.#unaskedBytes += bytes;
    if (this.#unaskedBytes < flushEveryBytes) return;
    const asked = this.#unaskedBytes;
    this.#unaskedBytes = 0;
    nc.flush().then(
      () => (this.#unreadBytes = Math.max(0, this.#unreadBytes - asked)),
      () => undefined, // the connection was lost, and counting began anew
    );
  }
}

/** The largest piece that fits in one message; `undefined` when there is no sensible one. */
function partBytesLimit(nc: NatsConnection): number | undefined {
  const limit = (nc.info?.max_payload ?? 0) - partMarginBytes;
  return limit >= partMarginBytes ? limit : undefined;
}

const asTrouble = (what: string, cause: unknown): Error =>
  cause instanceof BusMisfitError ? cause : new BusUnavailableError(what, { cause });
