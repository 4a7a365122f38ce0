import { EventRate } from "./event-rate.ts";
import type { GatewayMetrics } from "./metrics.ts";

/** What is counted over all gateways. */
export const sharedCounts = ["events", "presenceEvents", "joins", "users"] as const;
export type SharedCount = (typeof sharedCounts)[number];
/** Of rates: per second on average; of users: how many there are. */
export type Counts = Readonly<Record<SharedCount, number>>;
type Rate = Exclude<SharedCount, "users">;

export const noCounts: Counts = { events: 0, presenceEvents: 0, joins: 0, users: 0 };

/** What a client is told when it breaks a limit, or when its gateway does (protocol.md 1.3, 4.2, 4.10). */
const texts = {
  events: "Too many messages per second",
  presenceEvents: "Too many presence messages per second",
  presenceCalls: "Client presence rate limit exceeded",
  trackSize: "Track message size exceeded",
  joins: "Too many joins per second",
  channels: "Too many channels",
  users: "Too many connected users",
  connections: "Too many connections to this server",
} as const;
export type Limit = keyof typeof texts;

export interface LimitsOptions {
  /** 0: no limit. */
  readonly max: Readonly<Record<SharedCount | "channels" | "connections" | "presenceCalls", number>>;
  readonly presenceWindowMs: number;
  /** What the other gateways counted. */
  readonly others: () => Counts;
  readonly metrics: GatewayMetrics;
  readonly now?: () => number;
}

/** The calls of one channel. */
export interface CallWindow {
  /** `false`: one too many. */
  take(): boolean;
}

/**
 * What clients may do, counted where it happens. Rates are averages over a minute, so that short bursts pass; what others
 * counted is a second old. Changes of the database are no part of it: none of them is ever held back.
 */
export class Limits {
  readonly #options: LimitsOptions;
  readonly #rates: Readonly<Record<Rate, EventRate>>;
  /** Connections of this gateway that have a channel. */
  #users = 0;

  constructor(options: LimitsOptions) {
    this.#options = options;
    const { now } = options;
    this.#rates = { events: new EventRate(now), presenceEvents: new EventRate(now), joins: new EventRate(now) };
  }

  /** What this gateway counted. */
  get counts(): Counts {
    const { events, presenceEvents, joins } = this.#rates;
    return {
      events: events.perSecond(),
      presenceEvents: presenceEvents.perSecond(),
      joins: joins.perSecond(),
      users: this.#users,
    };
  }

  /** 0: no limit. */
  max(what: SharedCount): number {
    return this.#options.max[what];
  }

  count(what: Rate, count = 1): void {
    this.#rates[what].add(count);
  }

  /** Of all gateways. */
  total(what: SharedCount): number {
    const here = what === "users" ? this.#users : this.#rates[what].perSecond();
    return here + this.#options.others()[what];
  }

  /** As much as there may be has been reached. */
  isOver(what: SharedCount): boolean {
    const max = this.#options.max[what];
    return max !== 0 && this.total(what) >= max;
  }

  /** A connection that has so many has all it may have. */
  isFull(what: "channels" | "connections", count: number): boolean {
    const max = this.#options.max[what];
    return max !== 0 && count >= max;
  }

  /** A connection has its first channel, or none any more. */
  countUser(change: 1 | -1): void {
    this.#users += change;
  }

  presenceCalls(): CallWindow {
    const { max, presenceWindowMs, now = () => performance.now() } = this.#options;
    const calls: number[] = [];
    return {
      take() {
        if (max.presenceCalls === 0) return true;
        const nowMs = now();
        while (calls[0] !== undefined && calls[0] <= nowMs - presenceWindowMs) calls.shift();
        return calls.push(nowMs) <= max.presenceCalls;
      },
    };
  }

  /** Counts that it was met, and says it in the client's words. */
  exceeded(limit: Limit): string {
    this.#options.metrics.limitsExceeded.inc({ limit });
    return texts[limit];
  }
}
