export { PresenceLeaseLostError } from "./errors.ts";
export { LeaseHolder, type LeaseHolderOptions } from "./lease-holder.ts";
export { MemoryPresenceStore, type MemoryPresenceOptions } from "./memory.ts";
export { diffText, type PresenceDiff } from "./payloads.ts";
export type { LeasedEntry, PlacedEntry, PresenceEntry, PresenceSnapshot, PresenceStore, Sweep } from "./ports.ts";
export { RedisPresenceStore, type RedisPresenceOptions } from "./redis.ts";
export { Replica, type Placement, type ReconcileOptions } from "./replica.ts";
