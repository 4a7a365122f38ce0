import { createHash } from "node:crypto";
import type { Column } from "@walcast/model";
import type { Condition, Filter, Operator } from "./filter.ts";

/** An enum's labels in its order. */
export interface EnumOrder {
  readonly labels: readonly string[];
  /** Equal for equal labels. */
  readonly key: string;
}

/** How the enums of some columns are ordered. Filters are keys as JSON: there it is a digest, however many labels there are. */
export class EnumOrders {
  readonly #byType: ReadonlyMap<number, EnumOrder>;
  readonly #digest: string;

  constructor(labelsByType: ReadonlyMap<number, readonly string[]>) {
    this.#byType = new Map([...labelsByType].map(([typeOid, labels]) => [typeOid, { labels, key: keyOf(labels) }]));
    const keys = [...this.#byType].map(([typeOid, { key }]) => `${typeOid} ${key}`);
    this.#digest = digest(keys.toSorted().join(" "));
  }

  /** `undefined` of a type that was none of the columns'. */
  of(typeOid: number): EnumOrder | undefined {
    return this.#byType.get(typeOid);
  }

  toJSON(): string {
    return this.#digest;
  }
}

const digest = (text: string): string => createHash("sha256").update(text).digest("base64url");

/** Many subscribe by one description of a table. */
const keys = new WeakMap<readonly string[], string>();

function keyOf(labels: readonly string[]): string {
  const known = keys.get(labels) ?? digest(JSON.stringify(labels));
  keys.set(labels, known);
  return known;
}

const orderings: readonly Operator[] = ["lt", "lte", "gt", "gte"];

/** The filter with what it takes to order the enums among these columns: the log names only their labels. */
export function withEnumOrders(filter: Filter, columns: readonly Column[]): Filter {
  const labelsOf = new Map<string, Map<number, readonly string[]>>();
  for (const { name, typeOid, labels } of columns) {
    if (labels === undefined) continue;
    const byType = labelsOf.get(name) ?? new Map<number, readonly string[]>();
    labelsOf.set(name, byType.set(typeOid, labels));
  }
  if (labelsOf.size === 0) return filter;
  const orders = new Map([...labelsOf].map(([name, byType]) => [name, new EnumOrders(byType)]));
  return mapConditions(filter, (condition) => {
    const enumOrders = orderings.includes(condition.operator) ? orders.get(condition.column) : undefined;
    return enumOrders === undefined ? condition : { ...condition, enumOrders };
  });
}

/**
 * The filter for who must not miss a row that may have passed: of a label that has no place, as one renamed since, nobody
 * knows whether it did.
 */
export function orUnknownLabel(filter: Filter): Filter {
  return mapConditions(filter, (condition, passing) =>
    condition.enumOrders === undefined ? condition : { ...condition, unknownAs: passing },
  );
}

/** `passing`: the answer of the condition that helps a row to pass the whole filter. */
function mapConditions(
  filter: Filter,
  map: (condition: Condition, passing: boolean) => Condition,
  passing = true,
): Filter {
  return filter.map((term) =>
    term.tag === "condition"
      ? map(term, passing)
      : { ...term, terms: mapConditions(term.terms, map, passing !== term.isNegated) },
  );
}
