import type { Comparable } from "./comparable.ts";
import type { Access } from "./compiled-filter.ts";
import type { Operand } from "./operand.ts";

type RangeAccess = Extract<Access, { tag: "range" }>;

interface Bound<E> {
  readonly value: Comparable;
  readonly entries: Set<E>;
}

/**
 * Entries that want a value beyond a bound, by operator in order of their bounds: those that a value reaches stand together
 * at one end, so that a lookup looks at no others.
 */
export class RangeIndex<E> {
  readonly #operand: Operand;
  readonly #bounds: Readonly<Record<RangeAccess["operator"], Bound<E>[]>> = { lt: [], lte: [], gt: [], gte: [] };

  constructor(operand: Operand) {
    this.#operand = operand;
  }

  get isEmpty(): boolean {
    return Object.values(this.#bounds).every((bounds) => bounds.length === 0);
  }

  get operand(): Operand {
    return this.#operand;
  }

  add({ operator, value }: RangeAccess, entry: E): void {
    const bounds = this.#bounds[operator];
    const at = this.#placeOf(bounds, value);
    const bound = bounds[at];
    if (bound !== undefined && this.#order(bound.value, value) === 0) bound.entries.add(entry);
    else bounds.splice(at, 0, { value, entries: new Set([entry]) });
  }

  remove({ operator, value }: RangeAccess, entry: E): void {
    const bounds = this.#bounds[operator];
    const at = this.#placeOf(bounds, value);
    const entries = bounds[at]?.entries;
    if (entries?.delete(entry) === true && entries.size === 0) bounds.splice(at, 1);
  }

  visit(value: Comparable, visit: (entry: E) => void): void {
    const { gt, gte, lt, lte } = this.#bounds;
    for (const { value: bound, entries } of gt) {
      if (this.#order(bound, value) >= 0) break;
      entries.forEach(visit);
    }
    for (const { value: bound, entries } of gte) {
      if (this.#order(bound, value) > 0) break;
      entries.forEach(visit);
    }
    visitFromEnd(lt, (bound) => this.#order(bound, value) > 0, visit);
    visitFromEnd(lte, (bound) => this.#order(bound, value) >= 0, visit);
  }

  /** The first bound that is not below the value. */
  #placeOf(bounds: readonly Bound<E>[], value: Comparable): number {
    let low = 0;
    let high = bounds.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const bound = bounds[middle];
      if (bound !== undefined && this.#order(bound.value, value) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #order(a: Comparable, b: Comparable): number {
    return this.#operand.type.compare(a, b);
  }
}

function visitFromEnd<E>(
  bounds: readonly Bound<E>[],
  isReached: (bound: Comparable) => boolean,
  visit: (entry: E) => void,
): void {
  for (let i = bounds.length - 1; i >= 0; i--) {
    const bound = bounds[i];
    if (bound === undefined || !isReached(bound.value)) return;
    bound.entries.forEach(visit);
  }
}
