import { describeError, type Logger } from "@walcast/telemetry";
import { backoff } from "./backoff.ts";
import type { Service } from "./service.ts";

export interface RunOptions {
  readonly log: Logger;
  /** How long draining and stopping may take together, in milliseconds, before the process ends anyway. */
  readonly drainMs: number;
}

/** A run that lasted this long was healthy: the next failure counts as the first. */
const healthyMs = 60_000;

/**
 * Runs the services until SIGTERM or SIGINT, then stops them in reverse order: drain, then abort. A service that fails is
 * started again with backoff. A second signal ends the process at once.
 */
export async function runUntilSignal(services: readonly Service[], { log, drainMs }: RunOptions): Promise<void> {
  const running = services.map((service) => {
    const stop = new AbortController();
    return { service, stop, ended: keepRunning(service, stop.signal, log) };
  });
  const reason = await untilSignal();
  log.info({ reason }, "stopping");
  const deadline = setTimeout(() => {
    log.error({ drainMs }, "did not stop in time");
    process.exit(1);
  }, drainMs);
  for (const { service, stop, ended } of running.toReversed()) {
    await service
      .drain?.()
      .catch((error: unknown) => log.warn({ name: service.name, ...describeError(error) }, "draining failed"));
    stop.abort();
    await ended;
  }
  deadline.unref(); // stopped in time: the process may end; if something still holds it, the deadline ends it
}

async function keepRunning(service: Service, signal: AbortSignal, log: Logger): Promise<void> {
  for (let failures = 0; !signal.aborted;) {
    const startedAt = performance.now();
    try {
      await service.run(signal);
    } catch (error) {
      if (signal.aborted) return;
      failures = performance.now() - startedAt > healthyMs ? 1 : failures + 1;
      log.error({ name: service.name, ...describeError(error) }, "service failed and is started again");
      await backoff(failures, signal);
    }
  }
}

function untilSignal(): Promise<string> {
  return new Promise((resolve) => {
    const second = (): never => process.exit(130);
    for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
      process.once(name, () => {
        resolve(name);
        // A terminal's Ctrl-C may arrive twice (from the terminal and from a parent): only a later one is impatience.
        setTimeout(() => process.once(name, second), 500).unref();
        process.on(name, () => undefined);
      });
    }
  });
}
