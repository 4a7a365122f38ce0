import type { LoggedChange } from "@walcast/change-log";
import type { Relation } from "@walcast/model";
import { RecordReader } from "./record-reader.ts";
import type { Subscription } from "./subscription.ts";
import { TableIndex } from "./table-index.ts";

interface Bucket<G> {
  readonly unfiltered: Set<Subscription<G>>;
  readonly filtered: TableIndex<G>;
}

/**
 * Finds the groups that want a change. Filters look at the new row of an insert or update and at the old identity of a
 * delete; nothing that is filtered matches a truncate (protocol.md 4.8).
 */
export class SubscriptionIndex<G> {
  readonly #buckets = new Map<string, Bucket<G>>();

  add(subscription: Subscription<G>): void {
    const key = keyOf(subscription.schema, subscription.table);
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      bucket = { unfiltered: new Set(), filtered: new TableIndex() };
      this.#buckets.set(key, bucket);
    }
    if (subscription.filter.length === 0) bucket.unfiltered.add(subscription);
    else bucket.filtered.add(subscription);
  }

  remove(subscription: Subscription<G>): void {
    const key = keyOf(subscription.schema, subscription.table);
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) return;
    bucket.unfiltered.delete(subscription);
    bucket.filtered.remove(subscription);
    if (bucket.unfiltered.size === 0 && bucket.filtered.size === 0) this.#buckets.delete(key);
  }

  /** Whether any subscription could want a change of this relation: if not, its batches need no look inside. */
  concerns({ schema, table }: Relation): boolean {
    return keysOf(schema, table).some((key) => this.#buckets.has(key));
  }

  /** The matching groups, each with the ids of its bindings that matched. */
  match(relation: Relation, change: LoggedChange): Map<G, number[]> {
    const matches = new Map<G, number[]>();
    const keep = (subscription: Subscription<G>): void => {
      if (!subscription.kinds.has(change.kind)) return;
      const ids = matches.get(subscription.group);
      if (ids === undefined) matches.set(subscription.group, [subscription.id]);
      else ids.push(subscription.id);
    };
    const filterBy = change.kind === "delete" ? change.oldRecord : change.record;
    let reader: RecordReader | undefined;
    for (const key of keysOf(relation.schema, relation.table)) {
      const bucket = this.#buckets.get(key);
      if (bucket === undefined) continue;
      for (const subscription of bucket.unfiltered) keep(subscription);
      if (bucket.filtered.size === 0 || filterBy === undefined) continue;
      reader ??= new RecordReader(filterBy);
      for (const subscription of bucket.filtered.match(relation.columns, reader)) keep(subscription);
    }
    return matches;
  }
}

/** A NUL cannot be in a name. */
const keyOf = (schema: string, table: string): string => `${schema}\0${table}`;

const keysOf = (schema: string, table: string): string[] => [
  keyOf(schema, table),
  keyOf(schema, "*"),
  keyOf("*", table),
  keyOf("*", "*"),
];
