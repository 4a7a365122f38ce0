export type { Redis } from "ioredis";
export { RedisConnection, type RedisConnectionOptions } from "./connection.ts";
export { RedisUnavailableError } from "./errors.ts";
