export { compileFilter, passes, type CompiledTerm } from "./compiled-filter.ts";
export { orUnknownLabel, withEnumOrders } from "./enum-orders.ts";
export { explainer, type Explained, type ExplainedTerm, type Explainer, type Verdict } from "./explain.ts";
export { FilterTypeError } from "./filter-errors.ts";
export {
  columnsOf,
  FilterSyntaxError,
  parseFilter,
  type Condition,
  type Filter,
  type Operator,
  type Term,
} from "./filter.ts";
export { isNamePattern, toLikePattern } from "./name-pattern.ts";
export { RecordReader } from "./record-reader.ts";
export { resolveSelection, type SelectableTable } from "./selection.ts";
export { SubscriptionIndex } from "./subscription-index.ts";
export type { Subscription } from "./subscription.ts";
export { shapeOf, type TableShape } from "./table-shape.ts";
