import type { Relation } from "@walcast/model";
import { addTo, takeFrom, visitAll, type Bag } from "./bag.ts";
import type { Comparable } from "./comparable.ts";
import { compileFilter, passes, type Access, type CompiledTerm } from "./compiled-filter.ts";
import { FilterTypeError } from "./filter-errors.ts";
import type { Filter } from "./filter.ts";
import type { Operand } from "./operand.ts";
import { RangeIndex } from "./range-index.ts";
import type { RecordReader } from "./record-reader.ts";
import type { Subscription } from "./subscription.ts";
import { shapeOf, type TableShape } from "./table-shape.ts";

/** One distinct filter and everyone who has it: it is tested once for all of them. */
interface Entry<G> {
  subscriptions: Bag<Subscription<G>>;
  /** What is left to test once the index has found it. */
  rest: readonly CompiledTerm[];
  /** Where it stands in the index: nowhere while the table is not known or the filter does not fit it. */
  place: Access | "listed" | undefined;
}

/** Most filters are one lookup and no more. */
const noTerms: readonly CompiledTerm[] = [];

/** Equal filters have equal keys. */
const keyOf = ({ filter }: { readonly filter: Filter }): string => JSON.stringify(filter);

interface EqualityIndex<G> {
  readonly operand: Operand;
  readonly byValue: Map<Comparable, Bag<Entry<G>>>;
}

/**
 * The filtered subscriptions of one table, compiled for its present columns. Equality is looked up by value, so a change
 * costs the same with ten or a hundred thousand different `id=eq.N`; bounds are kept in order; other filters are tested one
 * by one, each distinct one once.
 */
export class TableIndex<G> {
  readonly #entries = new Map<string, Entry<G>>();
  readonly #equality = new Map<string, EqualityIndex<G>>();
  readonly #ranges = new Map<string, RangeIndex<Entry<G>>>();
  readonly #listed = new Set<Entry<G>>();
  #columns: Relation["columns"] | undefined;

  add(subscription: Subscription<G>): void {
    const key = keyOf(subscription);
    const known = this.#entries.get(key);
    if (known !== undefined) {
      known.subscriptions = addTo(known.subscriptions, subscription);
      return;
    }
    const entry: Entry<G> = { subscriptions: subscription, rest: noTerms, place: undefined };
    this.#entries.set(key, entry);
    if (this.#columns !== undefined) this.#enter(entry, subscription, shapeOf(this.#columns));
  }

  remove(subscription: Subscription<G>): void {
    const key = keyOf(subscription);
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    const left = takeFrom(entry.subscriptions, subscription);
    if (left !== undefined) {
      entry.subscriptions = left;
      return;
    }
    this.#entries.delete(key);
    this.#takeOut(entry);
  }

  /** Visits the subscriptions whose filter the record passes. `columns` must be those the record was written with. */
  match(columns: Relation["columns"], record: RecordReader, visit: (subscription: Subscription<G>) => void): void {
    if (columns !== this.#columns) this.#recompile(columns);
    const candidate = ({ rest, subscriptions }: Entry<G>): void => {
      if (passes(rest, record)) visitAll(subscriptions, visit);
    };
    for (const { operand, byValue } of this.#equality.values()) {
      const value = operand.value(record);
      const found = value === undefined || value === null ? undefined : byValue.get(value);
      if (found !== undefined) visitAll(found, candidate);
    }
    for (const range of this.#ranges.values()) {
      const value = range.operand.value(record);
      if (value !== undefined && value !== null) range.visit(value, candidate);
    }
    this.#listed.forEach(candidate);
  }

  #recompile(columns: Relation["columns"]): void {
    this.#columns = columns;
    this.#equality.clear();
    this.#ranges.clear();
    this.#listed.clear();
    const shape = shapeOf(columns);
    for (const [key, entry] of this.#entries) {
      entry.place = undefined;
      this.#enter(entry, { filter: JSON.parse(key) as Filter }, shape);
    }
  }

  #enter(entry: Entry<G>, { filter }: Pick<Subscription<G>, "filter">, shape: TableShape): void {
    let terms: CompiledTerm[];
    try {
      terms = compileFilter(filter, shape);
    } catch (error) {
      if (error instanceof FilterTypeError) return; // it fitted the table as it was once
      throw error;
    }
    const chosen =
      terms.find(({ access }) => access?.tag === "equal") ?? terms.find(({ access }) => access?.tag === "range");
    const rest = terms.filter((term) => term !== chosen);
    entry.rest = rest.length === 0 ? noTerms : rest;
    entry.place = chosen?.access ?? "listed";
    if (entry.place === "listed") this.#listed.add(entry);
    else if (entry.place.tag === "range") this.#rangeOf(entry.place.operand).add(entry.place, entry);
    else this.#addEqual(entry, entry.place);
  }

  #addEqual(entry: Entry<G>, { operand, values }: Extract<Access, { tag: "equal" }>): void {
    const index = this.#equality.get(operand.key) ?? { operand, byValue: new Map<Comparable, Bag<Entry<G>>>() };
    this.#equality.set(operand.key, index);
    for (const value of values) index.byValue.set(value, addTo(index.byValue.get(value), entry));
  }

  #rangeOf(operand: Operand): RangeIndex<Entry<G>> {
    const range = this.#ranges.get(operand.key) ?? new RangeIndex<Entry<G>>(operand);
    this.#ranges.set(operand.key, range);
    return range;
  }

  #takeOut(entry: Entry<G>): void {
    const { place } = entry;
    if (place === undefined) return;
    if (place === "listed") {
      this.#listed.delete(entry);
    } else if (place.tag === "range") {
      const range = this.#rangeOf(place.operand);
      range.remove(place, entry);
      if (range.isEmpty) this.#ranges.delete(place.operand.key);
    } else {
      this.#takeOutEqual(entry, place);
    }
  }

  #takeOutEqual(entry: Entry<G>, { operand, values }: Extract<Access, { tag: "equal" }>): void {
    const index = this.#equality.get(operand.key);
    for (const value of values) {
      const left = takeFrom(index?.byValue.get(value), entry);
      if (left === undefined) index?.byValue.delete(value);
      else index?.byValue.set(value, left);
    }
    if (index?.byValue.size === 0) this.#equality.delete(operand.key);
  }
}
