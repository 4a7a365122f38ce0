import type { ChangeKind } from "@walcast/change-log";
import type { Relation } from "@walcast/model";
import { compileName } from "./name-pattern.ts";
import type { Subscription } from "./subscription.ts";
import { TableIndex, type FilteredChange } from "./table-index.ts";

/** The subscriptions that name the same tables in the same words. */
export class SubscriptionBucket<G> {
  readonly isTableOf: (relation: Relation) => boolean;
  readonly #unfiltered = new Set<Subscription<G>>();
  readonly #filtered = new Set<Subscription<G>>();
  /** One for each table that had a change since the bucket was made: only a pattern has more than one. */
  readonly #indexes = new Map<string, TableIndex<G>>();
  /** Changes of one relation follow each other. */
  #last: { readonly relation: Relation; readonly index: TableIndex<G> } | undefined;

  constructor(schema: string, table: string) {
    const [isSchema, isTable] = [compileName(schema), compileName(table)];
    this.isTableOf = (relation) => isSchema(relation.schema) && isTable(relation.table);
  }

  get isEmpty(): boolean {
    return this.#unfiltered.size === 0 && this.#filtered.size === 0;
  }

  get hasFilters(): boolean {
    return this.#filtered.size > 0;
  }

  add(subscription: Subscription<G>): void {
    if (subscription.filter.length === 0) {
      this.#unfiltered.add(subscription);
      return;
    }
    this.#filtered.add(subscription);
    for (const index of this.#indexes.values()) index.add(subscription);
  }

  remove(subscription: Subscription<G>): void {
    this.#unfiltered.delete(subscription);
    if (!this.#filtered.delete(subscription)) return;
    for (const index of this.#indexes.values()) index.remove(subscription);
  }

  visitUnfiltered(kind: ChangeKind, visit: (subscription: Subscription<G>) => void): void {
    this.#unfiltered.forEach((subscription) => {
      if (subscription.kinds.has(kind)) visit(subscription);
    });
  }

  visitFiltered(relation: Relation, change: FilteredChange, visit: (subscription: Subscription<G>) => void): void {
    this.#indexOf(relation).match(relation.columns, change, visit);
  }

  #indexOf(relation: Relation): TableIndex<G> {
    if (this.#last?.relation === relation) return this.#last.index;
    const name = JSON.stringify([relation.schema, relation.table]);
    let index = this.#indexes.get(name);
    if (index === undefined) {
      index = new TableIndex();
      this.#indexes.set(name, index);
      for (const subscription of this.#filtered) index.add(subscription);
    }
    this.#last = { relation, index };
    return index;
  }
}
