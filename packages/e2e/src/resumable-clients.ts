import { createRequire } from "node:module";
import { resumable, type Gap } from "@walcast/client";
import type { ClientVersion } from "./realtime-clients.ts";

// The published clients with our add-on, which makes them come back with their position.

const require = createRequire(import.meta.url);

interface AnyChannel {
  on(...args: unknown[]): unknown;
  subscribe(): unknown;
}
interface AnyClient {
  connect(): void;
  disconnect(): unknown;
  channel(topic: string): AnyChannel;
}
type AnyClientClass = new (url: string, options: Record<string, unknown>) => AnyClient;

const platformWebSocket = globalThis.WebSocket;

export interface ResumableClient {
  readonly version: ClientVersion;
  readonly gaps: readonly Gap[];
  /** It has a place to come back to. */
  isReady(): boolean;
  disconnect(): void;
}

export interface ResumableClientOptions {
  readonly version: ClientVersion;
  readonly url: string;
  readonly table: string;
  /** The `id` of each row that was inserted, as the application's callback gets it. */
  readonly onInsert: (id: number) => void;
}

/** A client of this version with `resumable`, subscribed to the inserts of a table. */
export function connectResumable({ version, url, table, onInsert }: ResumableClientOptions): ResumableClient {
  const { RealtimeClient } = require(`realtime-js-${version}`) as { RealtimeClient: AnyClientClass };
  const gaps: Gap[] = [];
  const resuming = resumable({ onGap: (gap) => gaps.push(gap), WebSocket: platformWebSocket });
  const { transport } = resuming;
  // This one never listens to a transport that it is given (its own defect): it takes the platform's at each connect.
  const isDeaf = version === "2.10.0";
  if (isDeaf) globalThis.WebSocket = transport as typeof WebSocket;
  const client = new RealtimeClient(url, { ...(isDeaf ? {} : { transport }), params: { apikey: "any" } });
  client.connect();
  const isLegacy = version.startsWith("1.");
  const channel = client.channel(isLegacy ? `realtime:public:${table}` : table);
  const take = (change: { new?: { id: number }; record?: { id: number } }): void =>
    onInsert(Number((change.new ?? change.record)?.id));
  if (isLegacy) channel.on("INSERT", take);
  else channel.on("postgres_changes", { event: "INSERT", schema: "public", table }, take);
  channel.subscribe();
  const topic = isLegacy ? `realtime:public:${table}` : `realtime:${table}`;
  return {
    version,
    gaps,
    isReady: () => resuming.position(topic) !== undefined,
    disconnect() {
      void client.disconnect();
      if (isDeaf) globalThis.WebSocket = platformWebSocket;
    },
  };
}
