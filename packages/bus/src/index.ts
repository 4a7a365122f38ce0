export { BusMessageTooLargeError, BusMisfitError, BusUnavailableError } from "./errors.ts";
export { MemoryNetwork } from "./memory.ts";
export { NatsBus, type NatsBusOptions } from "./nats.ts";
export { messageBytesLimit, type Address, type Bus, type BusHandler, type ChannelKind } from "./ports.ts";
