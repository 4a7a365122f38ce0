export type { NumberedBatch } from "./batch-builder.ts";
export { changeLogSettings, ingesterSettings, replicationSettings, type ReplicationConfig } from "./config.ts";
export { Ingester, type Connections, type IngesterOptions } from "./ingester.ts";
export { createMetrics, type IngesterMetrics } from "./metrics.ts";
