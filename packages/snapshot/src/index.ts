export { explainReading, SnapshotInterruptedError, SnapshotRefusedError } from "./errors.ts";
export { parseOrder, type OrderTerm } from "./order.ts";
export { SnapshotReading, type ReadingOptions, type SnapshotPlace } from "./reading.ts";
export { snapshotSettings } from "./settings.ts";
export type { TableRequest } from "./table-query.ts";
