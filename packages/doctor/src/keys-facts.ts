import { describeError } from "@walcast/telemetry";
import type { KeysFacts } from "./facts.ts";

/** Fetches the key set once, as a gateway would. */
export async function collectKeys(url: URL): Promise<KeysFacts> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(5_000) });
    if (!response.ok) return { problem: `${url.href} answers ${response.status}` };
    const { keys } = (await response.json()) as { readonly keys?: unknown };
    return { problem: Array.isArray(keys) && keys.length > 0 ? undefined : `${url.href} has no keys` };
  } catch (error) {
    const { message, cause } = describeError(error);
    return { problem: `${url.href} cannot be fetched: ${cause ?? message}` };
  }
}
