/**
 * The server's `sync_interval` in milliseconds, from its monitoring endpoint (`/varz`, nats-server 2.12 and later);
 * undefined when it does not say. 0: every write is synchronised.
 */
export async function readSyncInterval(monitorUrl: string): Promise<number | undefined> {
  const response = await fetch(new URL("/varz", monitorUrl), { signal: AbortSignal.timeout(5_000) });
  const { jetstream } = (await response.json()) as {
    readonly jetstream?: { readonly config?: { readonly sync_interval?: number; readonly sync_always?: boolean } };
  };
  if (jetstream?.config?.sync_always === true) return 0;
  const nanos = jetstream?.config?.sync_interval;
  return nanos === undefined ? undefined : nanos / 1e6;
}
