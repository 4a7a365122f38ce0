export { compileCondition, FilterTypeError } from "./compiled-condition.ts";
export { FilterSyntaxError, parseFilter, type Condition, type Operator } from "./filter.ts";
export { RecordReader } from "./record-reader.ts";
export { SubscriptionIndex } from "./subscription-index.ts";
export type { Subscription } from "./subscription.ts";
