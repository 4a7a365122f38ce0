import { createRequire } from "node:module";
import { waitUntil } from "@walcast/testkit";

// The published client packages as an application uses them for broadcasts, behind one small interface.

const require = createRequire(import.meta.url);

/** What speaks which version of the wire format; `phoenix` is the plain library, which knows no binary frame of Supabase's. */
export const broadcastClients = {
  "realtime-js 2.0.0": { vsn: "1.0.0" },
  "realtime-js 2.10.0": { vsn: "1.0.0" },
  "realtime-js 2.81.0": { vsn: "1.0.0" },
  "realtime-js 2.81.0, vsn 2.0.0": { vsn: "2.0.0" },
  "realtime-js 2.119.0": { vsn: "2.0.0" },
  "supabase-js": { vsn: "2.0.0" },
} as const;
export type BroadcastClientName = keyof typeof broadcastClients;
export const broadcastClientNames = Object.keys(broadcastClients) as BroadcastClientName[];
/** 2.0.0 knows no private channels, has no HTTP, and does not tell an error from silence. */
export const newerClientNames = broadcastClientNames.filter((name) => name !== "realtime-js 2.0.0");
export const speaksBinary = (name: BroadcastClientName): boolean => broadcastClients[name].vsn === "2.0.0";

/** What the application's callback got. */
export interface ReceivedBroadcast {
  readonly type: string;
  readonly event: string;
  readonly payload?: unknown;
  readonly meta?: unknown;
}

export interface ChannelConfig {
  readonly broadcast?: { readonly ack?: boolean; readonly self?: boolean };
  readonly private?: boolean;
}

export interface BroadcastChannel {
  readonly received: ReceivedBroadcast[];
  readonly statuses: string[];
  join(): Promise<void>;
  /** Resolves with `ok`, `error` or `timed out`, as the client says. */
  send(event: string, payload: unknown): Promise<string>;
  /** Newer clients only. */
  httpSend(event: string, payload: unknown): Promise<{ readonly success: boolean }>;
}

export interface BroadcastClient {
  readonly name: BroadcastClientName;
  channel(topic: string, config?: ChannelConfig): BroadcastChannel;
  disconnect(): void;
}

interface AnyChannel {
  on(type: "broadcast", filter: { event: string }, callback: (message: ReceivedBroadcast) => void): AnyChannel;
  subscribe(callback: (status: string) => void): AnyChannel;
  send(message: object): Promise<string>;
  httpSend(event: string, payload: unknown): Promise<{ success: boolean }>;
}
interface AnyClient {
  channel(topic: string, options: { config: ChannelConfig }): AnyChannel;
  connect(): void;
  disconnect(): unknown;
}

/** `base`: the gateway's address, `http://…`. */
export function connectBroadcastClient(name: BroadcastClientName, base: string, apikey = "any"): BroadcastClient {
  const client = name === "supabase-js" ? createSupabase(base, apikey) : createRealtime(name, base, apikey);
  client.connect();
  return {
    name,
    channel(topic, config = {}) {
      const channel = client.channel(topic, { config });
      const received: ReceivedBroadcast[] = [];
      const statuses: string[] = [];
      channel.on("broadcast", { event: "*" }, (message) => received.push(message));
      return {
        received,
        statuses,
        async join() {
          channel.subscribe((status) => statuses.push(status));
          await waitUntil(() => statuses.includes("SUBSCRIBED"), {
            what: `${name} to have joined ${topic}, it says ${statuses.join()}`,
          });
        },
        async send(event, payload) {
          for (;;) {
            const outcome = await channel.send({ type: "broadcast", event, payload });
            if (outcome !== "rate limited") return outcome;
            await new Promise(setImmediate); // 2.0.0 sends at most one message in a turn of the event loop
          }
        },
        httpSend: (event, payload) => channel.httpSend(event, payload),
      };
    },
    disconnect: () => void client.disconnect(),
  };
}

function createRealtime(name: BroadcastClientName, base: string, apikey: string): AnyClient {
  const version = /\d+\.\d+\.\d+/.exec(name)?.[0];
  const { RealtimeClient } = require(`realtime-js-${version}`) as {
    RealtimeClient: new (url: string, options: object) => AnyClient;
  };
  const vsn = name.endsWith("vsn 2.0.0") ? { vsn: "2.0.0" } : {};
  const params = { apikey, eventsPerSecond: 1_000_000 };
  return new RealtimeClient(`${base.replace("http", "ws")}/socket`, { params, logger, ...vsn });
}

/** Newer clients write a warning to the console unless they have a logger. */
const logger = (): void => undefined;

function createSupabase(base: string, apikey: string): AnyClient {
  const { createClient } = require("@supabase/supabase-js") as {
    createClient: (url: string, key: string, options: object) => { realtime: AnyClient };
  };
  const auth = { persistSession: false, autoRefreshToken: false };
  return createClient(base, apikey, { auth, realtime: { logger } }).realtime;
}

/** The plain Phoenix client, in a room where nobody sends binary frames. */
export interface PhoenixChannel {
  readonly received: unknown[];
  /** Resolves with the answer's status. */
  push(payload: object): Promise<string>;
  disconnect(): void;
}

interface AnyPush {
  receive(status: string, callback: () => void): AnyPush;
}

export async function joinWithPhoenix(base: string, topic: string, config: ChannelConfig): Promise<PhoenixChannel> {
  const { Socket } = require("phoenix") as {
    Socket: new (
      url: string,
      options: object,
    ) => {
      connect(): void;
      disconnect(): void;
      channel(
        topic: string,
        payload: object,
      ): {
        on(event: string, callback: (payload: unknown) => void): void;
        join(): AnyPush;
        push(event: string, payload: object): AnyPush;
      };
    };
  };
  const socket = new Socket(`${base.replace("http", "ws")}/socket`, {
    params: { apikey: "any" },
    transport: WebSocket,
  });
  socket.connect();
  const channel = socket.channel(`realtime:${topic}`, { config });
  const received: unknown[] = [];
  channel.on("broadcast", (payload) => received.push(payload));
  await new Promise<void>((resolve) => channel.join().receive("ok", resolve));
  return {
    received,
    push: (payload) =>
      new Promise((resolve) => {
        const push = channel.push("broadcast", payload);
        for (const status of ["ok", "error", "timeout"]) push.receive(status, () => resolve(status));
      }),
    disconnect: () => socket.disconnect(),
  };
}
