import type { Heard } from "./client-kind.ts";

/** Stands in a record where the client was told that something is missing. */
export const gapMark = 0;

/** What one client heard, as it is compared in the end. */
export interface ClientRecord {
  /** Rows at their first delivery, and gap marks, in the order in which they came. */
  readonly items: readonly number[];
  readonly deliveries: number;
  readonly gaps: readonly string[];
  readonly complaints: Readonly<Record<string, number>>;
  /** The longest time without a row. */
  readonly longestSilenceMs: number;
}

export class Recorder implements Heard {
  readonly #items: number[] = [];
  readonly #seen = new Set<number>();
  readonly #gaps: string[] = [];
  readonly #complaints = new Map<string, number>();
  readonly #now: () => number;
  #deliveries = 0;
  #lastMs: number | undefined;
  #longestSilenceMs = 0;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get distinct(): number {
    return this.#seen.size;
  }

  has(id: number): boolean {
    return this.#seen.has(id);
  }

  row(id: number): void {
    const nowMs = this.#now();
    if (this.#lastMs !== undefined) this.#longestSilenceMs = Math.max(this.#longestSilenceMs, nowMs - this.#lastMs);
    this.#lastMs = nowMs;
    this.#deliveries++;
    if (this.#seen.has(id)) return;
    this.#seen.add(id);
    this.#items.push(id);
  }

  gap(message: string): void {
    this.#items.push(gapMark);
    this.#gaps.push(message);
  }

  complaint(message: string): void {
    const kind = message.slice(0, 80);
    this.#complaints.set(kind, (this.#complaints.get(kind) ?? 0) + 1);
  }

  /** Nobody writes for a while, so that no row is no silence. */
  rest(): void {
    this.#lastMs = undefined;
  }

  get record(): ClientRecord {
    return {
      items: this.#items,
      deliveries: this.#deliveries,
      gaps: this.#gaps,
      complaints: Object.fromEntries(this.#complaints),
      longestSilenceMs: Math.round(this.#longestSilenceMs),
    };
  }
}

export interface RecordVerdict {
  /** Rows that are missing where no gap was told. */
  readonly lost: number;
  /** Rows that are missing behind a gap that was told. */
  readonly told: number;
  readonly outOfOrder: number;
  /** Rows that it must not have seen, or that were never committed. */
  readonly invented: number;
  /** Gaps behind which nothing is missing. */
  readonly idleGaps: number;
  readonly examples: readonly string[];
}

/** `committed`: what it was allowed to see, in the order of the commits. */
export function compareRecord(items: readonly number[], committed: readonly number[]): RecordVerdict {
  const places = new Map(committed.map((id, place) => [id, place]));
  const counts = { lost: 0, told: 0, outOfOrder: 0, invented: 0, idleGaps: 0 };
  const examples: string[] = [];
  const note = (what: keyof typeof counts, rows: readonly number[]): void => {
    counts[what] += rows.length;
    if (what !== "told" && examples.length < 5)
      examples.push(`${what} ${rows.length}: ${rows[0]}${rows.length > 1 ? ` to ${rows.at(-1)}` : ""}`);
  };
  let next = 0;
  let gaps = 0;
  for (const item of [...items, undefined]) {
    if (item === gapMark) {
      gaps++;
      continue;
    }
    const place = item === undefined ? committed.length : places.get(item);
    if (item !== undefined && place === undefined) note("invented", [item]);
    else if (item !== undefined && place !== undefined && place < next) note("outOfOrder", [item]);
    else if (place !== undefined && place > next) note(gaps > 0 ? "told" : "lost", committed.slice(next, place));
    else counts.idleGaps += gaps;
    next = Math.max(next, (place ?? -1) + (item === undefined ? 0 : 1));
    gaps = 0;
  }
  return { ...counts, examples };
}
