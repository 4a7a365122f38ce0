/** Where whatever runs in this container says how it is. */
export function healthAddresses(environment: Readonly<Record<string, string | undefined>> = process.env): string[] {
  const gatewayPort = environment["PORT"] ?? "4000";
  const ingesterPort = environment["INGESTER_PORT"] ?? "4001";
  return [`http://127.0.0.1:${gatewayPort}/readyz`, `http://127.0.0.1:${ingesterPort}/healthz`];
}
