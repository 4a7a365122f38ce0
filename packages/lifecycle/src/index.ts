export { backoff, backoffMs, sleep, type BackoffOptions } from "./backoff.ts";
export { withHealthPort } from "./health-port.ts";
export { runUntilSignal, type RunOptions } from "./run-until-signal.ts";
export type { Service } from "./service.ts";
