import { createRequire } from "node:module";

// The published client packages, unchanged, behind one small interface. Their types differ by version and are not needed.

const require = createRequire(import.meta.url);

export const legacyVersions = ["1.3.3", "1.7.5"] as const;
export const currentVersions = ["2.0.0", "2.10.0", "2.81.0", "2.119.0"] as const;
export const clientVersions = [...legacyVersions, ...currentVersions] as const;
export type ClientVersion = (typeof clientVersions)[number];

/** One change as the application's callback got it. */
export interface ReceivedChange {
  readonly event: string;
  readonly record: Readonly<Record<string, unknown>>;
  readonly oldRecord: Readonly<Record<string, unknown>>;
  readonly raw: Readonly<Record<string, unknown>>;
}

export interface Wanted {
  readonly schema?: string;
  readonly table?: string;
  readonly filter?: string;
}

export interface TestSubscription {
  readonly changes: ReceivedChange[];
  /** `system` messages in order. */
  readonly system: { readonly status: string; readonly message: string; readonly extension: string }[];
  /** What the client itself reported of the channel: SUBSCRIBED, CHANNEL_ERROR, ok, error … */
  readonly statuses: string[];
  leave(): void;
}

export interface TestClient {
  readonly version: ClientVersion;
  subscribe(wanted: Wanted): TestSubscription;
  disconnect(): void;
}

interface AnyChannel {
  on(...args: unknown[]): unknown;
  subscribe(...args: unknown[]): AnyPush;
  unsubscribe(): unknown;
}
interface AnyPush {
  receive(status: string, callback: (response: unknown) => void): AnyPush;
}
interface AnyClient {
  connect(): void;
  disconnect(): unknown;
  channel(topic: string): AnyChannel;
}
type AnyClientClass = new (url: string, options: Record<string, unknown>) => AnyClient;

/** A connected client of the given version. Node's own WebSocket serves 2.x, as it does in browsers. */
export function connectClient(version: ClientVersion, url: string, apikey = "any"): TestClient {
  const { RealtimeClient } = require(`realtime-js-${version}`) as { RealtimeClient: AnyClientClass };
  const client = new RealtimeClient(url, { params: { apikey } });
  client.connect();
  let channels = 0;
  return {
    version,
    subscribe: (wanted) =>
      version.startsWith("1.") ? subscribeLegacy(client, wanted) : subscribeCurrent(client, wanted, ++channels),
    disconnect: () => void client.disconnect(),
  };
}

const emptySubscription = (leave: () => void): TestSubscription => ({ changes: [], system: [], statuses: [], leave });

function subscribeLegacy(client: AnyClient, { schema = "public", table, filter }: Wanted): TestSubscription {
  const topic = ["realtime", schema, table, filter].filter((part) => part !== undefined).join(":");
  const channel = client.channel(topic);
  const subscription = emptySubscription(() => void channel.unsubscribe());
  for (const event of ["INSERT", "UPDATE", "DELETE", "TRUNCATE"]) {
    channel.on(event, (raw: Record<string, unknown>) => {
      subscription.changes.push({
        event,
        record: objectOf(raw["record"]),
        oldRecord: objectOf(raw["old_record"]),
        raw,
      });
    });
  }
  channel.on("system", (message: TestSubscription["system"][number]) => subscription.system.push(message));
  channel
    .subscribe()
    .receive("ok", () => subscription.statuses.push("ok"))
    .receive("error", () => subscription.statuses.push("error"));
  return subscription;
}

function subscribeCurrent(client: AnyClient, wanted: Wanted, number: number): TestSubscription {
  const channel = client.channel(`test-${number}`);
  const subscription = emptySubscription(() => void channel.unsubscribe());
  channel.on("postgres_changes", { event: "*", schema: "public", ...wanted }, (raw: Record<string, unknown>) => {
    subscription.changes.push({
      event: String(raw["eventType"]),
      record: objectOf(raw["new"]),
      oldRecord: objectOf(raw["old"]),
      raw,
    });
  });
  channel.on("system", {}, (message: TestSubscription["system"][number]) => subscription.system.push(message));
  channel.subscribe((status: string) => subscription.statuses.push(status));
  return subscription;
}

const objectOf = (value: unknown): Readonly<Record<string, unknown>> => (value ?? {}) as Record<string, unknown>;

export const isSubscribed = ({ system }: TestSubscription): boolean =>
  system.some(({ message }) => message === "Subscribed to PostgreSQL");
