import { setInterval } from "node:timers/promises";
import { waitUntil } from "@walcast/testkit";
import type { Client } from "pg";
import type { ClientVersion, TestSubscription } from "../realtime-clients.ts";

const ROWS_PER_SECOND = 100;
const BACK_WITHIN_MS = 60_000;
const SAMPLE_MS = 5;

export interface Follower {
  readonly version: ClientVersion;
  readonly subscription: TestSubscription;
}

export interface Outage {
  readonly what: string;
  readonly client: string;
  readonly written: number;
  readonly missed: number;
  readonly repeated: number;
  readonly isOrdered: boolean;
  /** The longest time without a row; it is about 10 ms when nothing happens. */
  readonly silenceMs: number;
}

interface OutageOptions {
  readonly what: string;
  readonly database: Client;
  readonly followers: readonly Follower[];
  readonly strike: () => Promise<void>;
}

/**
 * Inserts 100 rows a second while `strike` breaks something, until every client has had a second's worth of the rows that
 * were written after it, and counts what each of them got. Throws when a client does not come back.
 */
export async function measureOutage({ what, database, followers, strike }: OutageOptions): Promise<Outage[]> {
  const stop = new AbortController();
  const written: number[] = [];
  const records = followers.map((follower) => new Tally(follower));
  const everybodyHas = (rows: number, after: number): Promise<true> =>
    waitUntil(() => records.every((record) => record.ids().filter((id) => id > after).length >= rows), {
      what: `${rows} rows after row ${after} at every client (${what})`,
      timeoutMs: BACK_WITHIN_MS,
    });

  const running = [write(database, written, stop.signal), sample(records, stop.signal)];
  try {
    await everybodyHas(ROWS_PER_SECOND, 0);
    await strike();
    await everybodyHas(ROWS_PER_SECOND, written.at(-1) ?? 0);
  } finally {
    stop.abort();
    await Promise.all(running);
  }
  await everybodyHas(1, (written.at(-1) ?? 0) - 1);
  return records.map((record) => record.outage(what, written));
}

/** What one client gets, from now on. */
class Tally {
  readonly #follower: Follower;
  readonly #first: number;
  #rows = 0;
  #lastRowAt = performance.now();
  #silenceMs = 0;

  constructor(follower: Follower) {
    this.#follower = follower;
    this.#first = follower.subscription.changes.length;
  }

  ids(): number[] {
    return this.#follower.subscription.changes.slice(this.#first).map(({ record }) => Number(record["id"]));
  }

  sample(now: number): void {
    const rows = this.#follower.subscription.changes.length - this.#first;
    if (rows === this.#rows) return;
    this.#silenceMs = Math.max(this.#silenceMs, now - this.#lastRowAt);
    this.#rows = rows;
    this.#lastRowAt = now;
  }

  outage(what: string, written: readonly number[]): Outage {
    const ids = this.ids();
    const distinct = new Set(ids);
    return {
      what,
      client: `realtime-js ${this.#follower.version}`,
      written: written.length,
      missed: written.filter((id) => !distinct.has(id)).length,
      repeated: ids.length - distinct.size,
      isOrdered: ids.every((id, index) => index === 0 || id > (ids[index - 1] ?? 0)),
      silenceMs: Math.round(this.#silenceMs),
    };
  }
}

/** Clients do not say when a row came, so they are looked at often. */
const sample = (records: readonly Tally[], signal: AbortSignal): Promise<void> =>
  every(SAMPLE_MS, signal, () => {
    for (const record of records) record.sample(performance.now());
  });

/** One row per transaction, one after the other, so that the order of ids is the order of commits. */
const write = (database: Client, written: number[], signal: AbortSignal): Promise<void> =>
  every(1_000 / ROWS_PER_SECOND, signal, async () => {
    const { rows } = await database.query<{ id: string }>("INSERT INTO todos (task) VALUES ('row') RETURNING id");
    for (const { id } of rows) written.push(Number(id));
  });

async function every(ms: number, signal: AbortSignal, act: () => void | Promise<void>): Promise<void> {
  try {
    for await (const _tick of setInterval(ms, undefined, { signal })) await act();
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
