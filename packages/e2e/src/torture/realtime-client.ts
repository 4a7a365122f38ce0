import { createRequire } from "node:module";
import { resumable } from "@walcast/client";
import { WebSocket as LibraryWebSocket } from "ws";
import { randomUUID } from "node:crypto";
import type { StartClient } from "./client-kind.ts";
import { hearSystem } from "./client-kind.ts";

// The published clients: as they are with the connection parameter `resume`, and with the add-on.

const require = createRequire(import.meta.url);

interface AnyChannel {
  readonly state: string;
  on(...args: unknown[]): unknown;
  subscribe(): unknown;
}
export interface AnyClient {
  connect(): void;
  connectionState(): string;
  channel(topic: string): AnyChannel;
}
type AnyClientClass = new (url: string, options: Record<string, unknown>) => AnyClient;
export type TortureVersion = "1.7.5" | "2.119.0";

/**
 * Of 1.7.5, the logger keeps it from writing to the console; the others are README.md's, "Older clients": cut off between a
 * join and its answer, it would throw its channel away.
 */
const optionsOf = {
  "1.7.5": { logger: () => undefined, timeout: 3_000, reconnectAfterMs: () => 4_000 },
  "2.119.0": {},
} satisfies Record<TortureVersion, object>;

/** A connected client. */
export function openClient(version: TortureVersion, port: number, options: Record<string, unknown>): AnyClient {
  const { RealtimeClient } = require(`realtime-js-${version}`) as { RealtimeClient: AnyClientClass };
  const client = new RealtimeClient(`ws://127.0.0.1:${port}/socket`, { ...optionsOf[version], ...options });
  client.connect();
  return client;
}

type Message = { readonly status?: string; readonly message?: string };

const start =
  (version: TortureVersion, optionsFor: (apikey: string) => Record<string, unknown>) =>
  (...[spec, heard]: Parameters<StartClient>): ReturnType<StartClient> => {
    const { port, token, table, filter, number } = spec;
    const client = openClient(version, port, optionsFor(token));
    let isReady = false;
    const take = (change: { new?: { id: number }; record?: { id: number } }): void =>
      heard.row(Number((change.new ?? change.record)?.id));
    const hear = (message: Message): void => {
      last = `${new Date().toISOString()} ${message.message}`;
      isReady ||= message.message === "Subscribed to PostgreSQL";
      hearSystem(heard, message);
    };
    let channel: AnyChannel;
    let last = "";
    if (version === "1.7.5") {
      channel = client.channel(["realtime:public", table, ...(filter === undefined ? [] : [filter])].join(":"));
      channel.on("INSERT", take);
      channel.on("system", hear);
      channel.subscribe();
    } else {
      channel = client.channel(`torture-${number}`);
      const binding = { event: "INSERT", schema: "public", table, ...(filter === undefined ? {} : { filter }) };
      channel.on("postgres_changes", binding, take);
      channel.on("system", {}, hear);
      channel.subscribe();
    }
    const state = (): string => `${client.connectionState()}, ${channel.state}, was told ${last}`;
    return { isReady: () => isReady, state };
  };

/** Node 22's own WebSocket does not tell clients of a connection that was refused, and they would wait for ever. */
const transportOf = (version: TortureVersion): Record<string, unknown> =>
  version === "1.7.5" ? {} : { transport: LibraryWebSocket };

/** Nothing of ours but the parameter. */
export const stock = (version: TortureVersion): StartClient =>
  start(version, (apikey) => ({ ...transportOf(version), params: { apikey, resume: randomUUID() } }));

/** Gaps come as `system` messages, too, which is where they are heard. */
export const addOn = (version: TortureVersion): StartClient =>
  start(version, (apikey) => ({ transport: resumable().transport, params: { apikey } }));
