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
  /** Of filters that are one lookup and no more: the way over their entries, 100,000 of them, was a sixth of a match's time. */
  readonly found: Map<Comparable, Bag<Subscription<G>>>;
  /** Of filters that ask for more. */
  readonly candidates: Map<Comparable, Bag<Entry<G>>>;
}

type EqualAccess = Extract<Access, { tag: "equal" }>;

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
      if (isFoundAtOnce(known)) this.#addFound(subscription, known.place);
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
    if (isFoundAtOnce(entry)) this.#takeOutFound(subscription, entry.place);
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
    for (const { operand, found, candidates } of this.#equality.values()) {
      const value = operand.value(record);
      if (value === undefined || value === null) continue;
      const subscriptions = found.get(value);
      if (subscriptions !== undefined) visitAll(subscriptions, visit);
      const entries = candidates.size === 0 ? undefined : candidates.get(value);
      if (entries !== undefined) visitAll(entries, candidate);
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
    const { place } = entry;
    if (place === "listed") this.#listed.add(entry);
    else if (place.tag === "range") this.#rangeOf(place.operand).add(place, entry);
    else if (isFoundAtOnce(entry)) visitAll(entry.subscriptions, (one) => this.#addFound(one, entry.place));
    else this.#addCandidate(entry, place);
  }

  #addFound(subscription: Subscription<G>, { operand, values }: EqualAccess): void {
    const { found } = this.#equalityOf(operand);
    for (const value of values) found.set(value, addTo(found.get(value), subscription));
  }

  #addCandidate(entry: Entry<G>, { operand, values }: EqualAccess): void {
    const { candidates } = this.#equalityOf(operand);
    for (const value of values) candidates.set(value, addTo(candidates.get(value), entry));
  }

  #equalityOf(operand: Operand): EqualityIndex<G> {
    const known = this.#equality.get(operand.key);
    if (known !== undefined) return known;
    const index: EqualityIndex<G> = { operand, found: new Map(), candidates: new Map() };
    this.#equality.set(operand.key, index);
    return index;
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
    } else if (!isFoundAtOnce(entry)) {
      const index = this.#equalityOf(place.operand);
      for (const value of place.values) takeOut(index.candidates, value, entry);
      this.#dropEmpty(index);
    }
  }

  #takeOutFound(subscription: Subscription<G>, { operand, values }: EqualAccess): void {
    const index = this.#equalityOf(operand);
    for (const value of values) takeOut(index.found, value, subscription);
    this.#dropEmpty(index);
  }

  #dropEmpty({ operand, found, candidates }: EqualityIndex<G>): void {
    if (found.size === 0 && candidates.size === 0) this.#equality.delete(operand.key);
  }
}

/** Nothing is left to test: its subscriptions themselves are what a lookup finds. */
const isFoundAtOnce = <G>(entry: Entry<G>): entry is Entry<G> & { place: EqualAccess } =>
  entry.rest === noTerms && typeof entry.place === "object" && entry.place.tag === "equal";

function takeOut<T extends object>(bags: Map<Comparable, Bag<T>>, value: Comparable, item: T): void {
  const left = takeFrom(bags.get(value), item);
  if (left === undefined) bags.delete(value);
  else bags.set(value, left);
}
