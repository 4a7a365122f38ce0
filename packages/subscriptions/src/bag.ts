/**
 * One thing, or a set of several. Of a hundred thousand bags nearly all hold one thing, and a set for each costs memory, and
 * time: every object on the way to a subscription is another miss of the processor's cache.
 */
export type Bag<T extends object> = T | ManyOf<T>;

/** A set that no other code makes, so that it is told from what bags hold. */
class ManyOf<T extends object> extends Set<T> {}

export function addTo<T extends object>(bag: Bag<T> | undefined, item: T): Bag<T> {
  if (bag === undefined || bag === item) return item;
  if (bag instanceof ManyOf) return bag.add(item);
  return new ManyOf([bag, item]);
}

/** `undefined` when nothing is left. */
export function takeFrom<T extends object>(bag: Bag<T> | undefined, item: T): Bag<T> | undefined {
  if (!(bag instanceof ManyOf)) return bag === item ? undefined : bag;
  bag.delete(item);
  const [one] = bag;
  return bag.size > 1 ? bag : one;
}

export function visitAll<T extends object>(bag: Bag<T>, visit: (item: T) => void): void {
  if (bag instanceof ManyOf) bag.forEach((item) => visit(item));
  else visit(bag);
}
