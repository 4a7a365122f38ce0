import type { Relation } from "@walcast/model";
import type { Comparable, ComparableType } from "./comparable.ts";
import { compileCondition, FilterTypeError, holds, type CompiledCondition } from "./compiled-condition.ts";
import type { RecordReader } from "./record-reader.ts";
import type { Subscription } from "./subscription.ts";

interface EqualityColumn<G> {
  readonly type: ComparableType;
  readonly byValue: Map<Comparable, Set<CompiledSubscription<G>>>;
}

interface CompiledSubscription<G> {
  readonly subscription: Subscription<G>;
  /** What is left to test once the hash map has found it. */
  readonly rest: readonly CompiledCondition[];
  /** Takes it out of the index again. */
  readonly remove: () => void;
}

/**
 * The filtered subscriptions of one table, compiled for its present columns. Equality is looked up by value, so a change
 * costs the same with ten or a hundred thousand different `id=eq.N`; other filters are tested one by one.
 */
export class TableIndex<G> {
  readonly #subscriptions = new Map<Subscription<G>, CompiledSubscription<G> | undefined>();
  readonly #equality = new Map<string, EqualityColumn<G>>();
  readonly #others = new Set<CompiledSubscription<G>>();
  #columns: Relation["columns"] | undefined;

  get size(): number {
    return this.#subscriptions.size;
  }

  add(subscription: Subscription<G>): void {
    this.#subscriptions.set(subscription, this.#compile(subscription));
  }

  remove(subscription: Subscription<G>): void {
    this.#subscriptions.get(subscription)?.remove();
    this.#subscriptions.delete(subscription);
  }

  /** The subscriptions whose filter the record passes. `columns` must be the same array while the table is the same. */
  *match(columns: Relation["columns"], record: RecordReader): Generator<Subscription<G>> {
    if (columns !== this.#columns) this.#recompile(columns);
    for (const [name, column] of this.#equality) {
      const text = record.text(name);
      const value = text === null || text === undefined ? undefined : column.type.parse(text);
      const found = value === undefined ? undefined : column.byValue.get(value);
      if (found !== undefined) yield* passing(found, record);
    }
    yield* passing(this.#others, record);
  }

  #recompile(columns: Relation["columns"]): void {
    this.#columns = columns;
    this.#equality.clear();
    this.#others.clear();
    for (const subscription of this.#subscriptions.keys()) {
      this.#subscriptions.set(subscription, this.#compile(subscription));
    }
  }

  /** `undefined` while the table is not known, or when the filter does not fit it any more: it matches nothing then. */
  #compile(subscription: Subscription<G>): CompiledSubscription<G> | undefined {
    const columns = this.#columns;
    if (columns === undefined) return undefined;
    let conditions: CompiledCondition[];
    try {
      conditions = subscription.filter.map((condition) => compileCondition(condition, columns));
    } catch (error) {
      if (error instanceof FilterTypeError) return undefined;
      throw error;
    }
    const access = conditions.find(({ condition }) => condition.operator === "eq" && !condition.isNegated);
    const [value] = access?.values ?? [];
    return access === undefined || value === undefined
      ? this.#addOther(subscription, conditions)
      : this.#addEquality(subscription, { access, value, rest: conditions.filter((other) => other !== access) });
  }

  #addOther(subscription: Subscription<G>, rest: CompiledCondition[]): CompiledSubscription<G> {
    const compiled = { subscription, rest, remove: () => void this.#others.delete(compiled) };
    this.#others.add(compiled);
    return compiled;
  }

  #addEquality(
    subscription: Subscription<G>,
    { access, value, rest }: { access: CompiledCondition; value: Comparable; rest: CompiledCondition[] },
  ): CompiledSubscription<G> {
    const name = access.condition.column;
    const column = this.#equality.get(name) ?? {
      type: access.type,
      byValue: new Map<Comparable, Set<CompiledSubscription<G>>>(),
    };
    this.#equality.set(name, column);
    const same = column.byValue.get(value) ?? new Set();
    column.byValue.set(value, same);
    const remove = (): void => {
      same.delete(compiled);
      if (same.size === 0) column.byValue.delete(value);
      if (column.byValue.size === 0) this.#equality.delete(name);
    };
    const compiled: CompiledSubscription<G> = { subscription, rest, remove };
    same.add(compiled);
    return compiled;
  }
}

function* passing<G>(candidates: Iterable<CompiledSubscription<G>>, record: RecordReader): Generator<Subscription<G>> {
  for (const { subscription, rest } of candidates) {
    if (rest.every((condition) => holds(condition, record))) yield subscription;
  }
}
