import type { ChangeKind } from "@walcast/change-log";
import type { Relation } from "@walcast/model";
import { addTo, takeFrom, visitAll, type Bag } from "./bag.ts";
import type { Comparable } from "./comparable.ts";
import { compileFilter, passes, type Access, type CompiledTerm } from "./compiled-filter.ts";
import { FilterTypeError } from "./filter-errors.ts";
import type { Filter } from "./filter.ts";
import { MultiMap } from "./multi-map.ts";
import type { Operand } from "./operand.ts";
import { RangeIndex } from "./range-index.ts";
import type { RecordReader } from "./record-reader.ts";
import type { Subscription } from "./subscription.ts";
import { shapeOf, type TableShape } from "./table-shape.ts";

/** One distinct filter and everyone who has it for the same kinds of changes: it is tested once for all of them. */
interface Entry<G> {
  readonly kinds: ReadonlySet<ChangeKind>;
  readonly filter: Filter;
  subscriptions: Bag<Subscription<G>>;
  /** What is left to test once the index has found it. */
  rest: readonly CompiledTerm[];
  /** Where it stands in the index: nowhere while the table is not known or the filter does not fit it. */
  place: Access | "listed" | undefined;
}

/** Most filters are one lookup and no more. */
const noTerms: readonly CompiledTerm[] = [];

/** Equal filters for equal kinds have equal keys. */
const keyOf = ({ filter, kinds }: Pick<Subscription<unknown>, "filter" | "kinds">): string =>
  JSON.stringify([filter, kindsKey(kinds)]);
const kindsKey = (kinds: ReadonlySet<ChangeKind>): string => [...kinds].join();

/** Lookups of one column by those who want the same kinds of changes. */
interface EqualityIndex<G> {
  readonly operand: Operand;
  readonly kinds: ReadonlySet<ChangeKind>;
  /** Of filters that are one lookup and no more: the way over their entries, 100,000 of them, was a sixth of a match's time. */
  readonly found: MultiMap<Comparable, Subscription<G>>;
  /** Of filters that ask for more. */
  readonly candidates: MultiMap<Comparable, Entry<G>>;
}

type EqualAccess = Extract<Access, { tag: "equal" }>;

/** What of a change filters look at. */
export interface FilteredChange {
  readonly kind: ChangeKind;
  readonly record: RecordReader;
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
      if (isFoundAtOnce(known)) this.#addFound(subscription, known.place);
      return;
    }
    const { kinds, filter } = subscription;
    const entry: Entry<G> = { kinds, filter, subscriptions: subscription, rest: noTerms, place: undefined };
    this.#entries.set(key, entry);
    if (this.#columns !== undefined) this.#enter(entry, shapeOf(this.#columns));
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

  /**
   * Visits the subscriptions that want this kind of change and whose filter the record passes. `columns` must be those the
   * record was written with.
   */
  match(columns: Relation["columns"], { kind, record }: FilteredChange, visit: (one: Subscription<G>) => void): void {
    if (columns !== this.#columns) this.#recompile(columns);
    const candidate = ({ kinds, rest, subscriptions }: Entry<G>): void => {
      if (kinds.has(kind) && passes(rest, record)) visitAll(subscriptions, visit);
    };
    for (const { operand, kinds, found, candidates } of this.#equality.values()) {
      if (!kinds.has(kind)) continue;
      const value = operand.value(record);
      if (value === undefined || value === null) continue;
      found.visit(value, visit);
      candidates.visit(value, candidate);
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
    for (const entry of this.#entries.values()) {
      entry.place = undefined;
      this.#enter(entry, shape);
    }
  }

  #enter(entry: Entry<G>, shape: TableShape): void {
    let terms: CompiledTerm[];
    try {
      terms = compileFilter(entry.filter, shape);
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

  #addFound(subscription: Subscription<G>, access: EqualAccess): void {
    const { found } = this.#equalityOf(access, subscription.kinds);
    for (const value of access.values) found.add(value, subscription);
  }

  #addCandidate(entry: Entry<G>, access: EqualAccess): void {
    const { candidates } = this.#equalityOf(access, entry.kinds);
    for (const value of access.values) candidates.add(value, entry);
  }

  #equalityOf({ operand }: EqualAccess, kinds: ReadonlySet<ChangeKind>): EqualityIndex<G> {
    const key = equalityKey(operand, kinds);
    const known = this.#equality.get(key);
    if (known !== undefined) return known;
    const index: EqualityIndex<G> = { operand, kinds, found: new MultiMap(), candidates: new MultiMap() };
    this.#equality.set(key, index);
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
      const index = this.#equalityOf(place, entry.kinds);
      for (const value of place.values) index.candidates.delete(value, entry);
      this.#dropEmpty(index);
    }
  }

  #takeOutFound(subscription: Subscription<G>, access: EqualAccess): void {
    const index = this.#equalityOf(access, subscription.kinds);
    for (const value of access.values) index.found.delete(value, subscription);
    this.#dropEmpty(index);
  }

  #dropEmpty({ operand, kinds, found, candidates }: EqualityIndex<G>): void {
    if (found.isEmpty && candidates.isEmpty) this.#equality.delete(equalityKey(operand, kinds));
  }
}

const equalityKey = (operand: Operand, kinds: ReadonlySet<ChangeKind>): string => `${kindsKey(kinds)} ${operand.key}`;

/** Nothing is left to test: its subscriptions themselves are what a lookup finds. */
const isFoundAtOnce = <G>(entry: Entry<G>): entry is Entry<G> & { place: EqualAccess } =>
  entry.rest === noTerms && typeof entry.place === "object" && entry.place.tag === "equal";
