/**
 * Several values under one key, where nearly all keys have one. Those stand in the map themselves: a set for each of a
 * hundred thousand keys costs memory and time. And they stand apart from the others, so that finding one does not look at
 * it: that alone, a miss of the processor's cache, was a third of a match's time.
 */
export class MultiMap<K, V> {
  readonly #ones = new Map<K, V>();
  /** A key is here or in `#ones`. */
  readonly #many = new Map<K, Set<V>>();

  get isEmpty(): boolean {
    return this.#ones.size === 0 && this.#many.size === 0;
  }

  add(key: K, value: V): void {
    const many = this.#many.get(key);
    const one = this.#ones.get(key);
    if (many !== undefined) many.add(value);
    else if (one === undefined || one === value) this.#ones.set(key, value);
    else {
      this.#ones.delete(key);
      this.#many.set(key, new Set([one, value]));
    }
  }

  delete(key: K, value: V): void {
    if (this.#ones.get(key) === value) this.#ones.delete(key);
    const many = this.#many.get(key);
    if (many?.delete(value) !== true) return;
    const [one] = many;
    if (many.size > 1 || one === undefined) return;
    this.#many.delete(key);
    this.#ones.set(key, one);
  }

  visit(key: K, visit: (value: V) => void): void {
    if (this.#ones.size > 0) {
      const one = this.#ones.get(key);
      if (one !== undefined) return visit(one);
    }
    if (this.#many.size > 0) this.#many.get(key)?.forEach((value) => visit(value));
  }
}
