import type { LoggedChange } from "@walcast/change-log";
import type { Relation } from "@walcast/model";
import { isNamePattern } from "./name-pattern.ts";
import { RecordReader } from "./record-reader.ts";
import { SubscriptionBucket } from "./subscription-bucket.ts";
import type { Subscription } from "./subscription.ts";
import { shapeOf } from "./table-shape.ts";

interface Resolved<G> {
  /** That of `#bucketsVersion` when it was found out. */
  readonly version: number;
  readonly buckets: readonly SubscriptionBucket<G>[];
}

/**
 * Finds the groups that want a change. Filters look at the new row of an insert or update and at the old identity of a
 * delete; nothing that is filtered matches a truncate (protocol.md 4.8).
 */
export class SubscriptionIndex<G> {
  readonly #buckets = new Map<string, SubscriptionBucket<G>>();
  /** Those of `#buckets` that can stand for many tables. */
  readonly #patterns = new Map<string, SubscriptionBucket<G>>();
  #bucketsVersion = 0;
  /** Which buckets concern a relation: asked anew only when there are others. */
  readonly #resolved = new WeakMap<Relation, Resolved<G>>();

  add(subscription: Subscription<G>): void {
    const { schema, table } = subscription;
    const key = keyOf(schema, table);
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      bucket = new SubscriptionBucket(schema, table);
      this.#buckets.set(key, bucket);
      if (isNamePattern(schema) || isNamePattern(table)) this.#patterns.set(key, bucket);
      this.#bucketsVersion++;
    }
    bucket.add(subscription);
  }

  remove(subscription: Subscription<G>): void {
    const key = keyOf(subscription.schema, subscription.table);
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) return;
    bucket.remove(subscription);
    if (!bucket.isEmpty) return;
    this.#buckets.delete(key);
    this.#patterns.delete(key);
    this.#bucketsVersion++;
  }

  /** Whether any subscription could want a change of this relation: if not, its batches need no look inside. */
  concerns(relation: Relation): boolean {
    return this.#bucketsOf(relation).length > 0;
  }

  /** The subscriptions that want the change. */
  match(relation: Relation, change: LoggedChange): readonly Subscription<G>[] {
    const matches: Subscription<G>[] = [];
    const keep = (subscription: Subscription<G>): void => void matches.push(subscription);
    const { kind } = change;
    const filterBy = kind === "delete" ? change.oldRecord : change.record;
    let record: RecordReader | undefined;
    for (const bucket of this.#bucketsOf(relation)) {
      bucket.visitUnfiltered(kind, keep);
      if (filterBy === undefined || !bucket.hasFilters) continue;
      record ??= new RecordReader(filterBy, shapeOf(relation.columns));
      bucket.visitFiltered(relation, { kind, record }, keep);
    }
    return matches;
  }

  #bucketsOf(relation: Relation): readonly SubscriptionBucket<G>[] {
    const known = this.#resolved.get(relation);
    if (known?.version === this.#bucketsVersion) return known.buckets;
    const key = keyOf(relation.schema, relation.table);
    const exact = this.#patterns.has(key) ? undefined : this.#buckets.get(key);
    const patterns = [...this.#patterns.values()].filter((bucket) => bucket.isTableOf(relation));
    const buckets = exact === undefined ? patterns : [exact, ...patterns];
    this.#resolved.set(relation, { version: this.#bucketsVersion, buckets });
    return buckets;
  }
}

/** A NUL cannot be in a name. */
const keyOf = (schema: string, table: string): string => `${schema}\0${table}`;
