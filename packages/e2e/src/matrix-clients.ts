import { createRequire } from "node:module";

// The published client packages as an application uses them for changes, errors, tokens and leaving, behind one interface.

const require = createRequire(import.meta.url);

export const legacyClientNames = ["realtime-js 1.3.3", "realtime-js 1.7.5"] as const;
export const currentClientNames = [
  "realtime-js 2.0.0",
  "realtime-js 2.10.0",
  "realtime-js 2.81.0",
  "realtime-js 2.119.0",
  "supabase-js",
  "phoenix",
] as const;
export const matrixClientNames = [...legacyClientNames, ...currentClientNames] as const;
export type MatrixClientName = (typeof matrixClientNames)[number];

/** An element of `postgres_changes`; legacy clients make a topic of it and leave `event` and `select` out. */
export interface MatrixBinding {
  readonly event: "*" | "INSERT" | "UPDATE" | "DELETE";
  readonly schema: string;
  readonly table?: string;
  readonly filter?: string;
  readonly select?: readonly string[];
}

export interface MatrixChannel {
  /** What the callback of the first, the second … binding got. */
  readonly received: readonly { readonly event: string; readonly record: Readonly<Record<string, unknown>> }[][];
  /** The texts of `system` messages. */
  readonly system: string[];
  /** What the client says of the channel. */
  readonly statuses: string[];
  leave(): void;
}

export interface MatrixClient {
  channel(topic: string, bindings: readonly MatrixBinding[], config?: object): MatrixChannel;
  setToken(token: string): void;
  disconnect(): void;
}

interface AnyPush {
  receive(status: string, callback: (response?: unknown) => void): AnyPush;
}
interface AnyChannel {
  on(...args: unknown[]): unknown;
  subscribe(callback?: (status: string, error?: Error) => void): AnyPush;
  unsubscribe(): unknown;
  join(): AnyPush;
  leave(): unknown;
  push(event: string, payload: object): unknown;
}
interface AnyClient {
  connect(): void;
  disconnect(): unknown;
  setAuth(token: string): unknown;
  channel(topic: string, options?: object): AnyChannel;
}
type Row = Readonly<Record<string, unknown>>;
type Received = MatrixChannel["received"][number][number];

/** `base`: the address of a gateway or a balancer, `http://…`. */
export function connectMatrixClient(name: MatrixClientName, base: string, token: string): MatrixClient {
  if (name === "phoenix") return connectPhoenix(base, token);
  const client = name === "supabase-js" ? createSupabase(base, token) : createRealtime(name, base, token);
  client.connect();
  const isLegacy = legacyClientNames.some((legacy) => legacy === name);
  return {
    channel: (topic, bindings, config = {}) =>
      isLegacy ? joinLegacy(client, bindings) : joinCurrent(client.channel(topic, { config }), bindings),
    setToken: (newer) => void client.setAuth(newer),
    disconnect: () => void client.disconnect(),
  };
}

/** Newer clients write to the console unless they have a logger. */
const logger = (): void => undefined;

function createRealtime(name: string, base: string, token: string): AnyClient {
  const { RealtimeClient } = require(`realtime-js-${name.slice("realtime-js ".length)}`) as {
    RealtimeClient: new (url: string, options: object) => AnyClient;
  };
  return new RealtimeClient(`${base.replace("http", "ws")}/socket`, { params: { apikey: token }, logger });
}

function createSupabase(base: string, token: string): AnyClient {
  const { createClient } = require("@supabase/supabase-js") as {
    createClient: (url: string, key: string, options: object) => { realtime: AnyClient };
  };
  const auth = { persistSession: false, autoRefreshToken: false };
  return createClient(base, token, { auth, realtime: { logger } }).realtime;
}

function joinCurrent(channel: AnyChannel, bindings: readonly MatrixBinding[]): MatrixChannel {
  const received = bindings.map((): Received[] => []);
  const [system, statuses]: [string[], string[]] = [[], []];
  bindings.forEach((binding, i) => {
    channel.on("postgres_changes", binding, ({ eventType, new: row }: { eventType: string; new: Row }) =>
      received[i]?.push({ event: eventType, record: row }),
    );
  });
  channel.on("system", {}, ({ message }: { message: string }) => system.push(message));
  channel.subscribe((status, error) => statuses.push(error === undefined ? status : `${status} ${error.message}`));
  return { received, system, statuses, leave: () => void channel.unsubscribe() };
}

/** A topic for each binding. */
function joinLegacy(client: AnyClient, bindings: readonly MatrixBinding[]): MatrixChannel {
  const received = bindings.map((): Received[] => []);
  const [system, statuses]: [string[], string[]] = [[], []];
  const channels = bindings.map(({ schema, table, filter, event: wanted }, i) => {
    const channel = client.channel(["realtime", schema, table, filter].filter((part) => part !== undefined).join(":"));
    for (const event of wanted === "*" ? ["INSERT", "UPDATE", "DELETE"] : [wanted]) {
      channel.on(event, ({ record = {} }: { record?: Row }) => received[i]?.push({ event, record }));
    }
    channel.on("system", ({ message }: { message: string }) => system.push(message));
    channel.subscribe().receive("ok", () => statuses.push("SUBSCRIBED"));
    return channel;
  });
  return { received, system, statuses, leave: () => channels.forEach((channel) => channel.unsubscribe()) };
}

/** The plain library: the ids of the answer say which binding a change is for. */
function connectPhoenix(base: string, token: string): MatrixClient {
  const { Socket } = require("phoenix") as { Socket: new (url: string, options: object) => AnyClient };
  const params = { apikey: token };
  const socket = new Socket(`${base.replace("http", "ws")}/socket`, { params, transport: WebSocket });
  socket.connect();
  const channels: AnyChannel[] = [];
  return {
    channel(topic, bindings, config = {}) {
      const received = bindings.map((): Received[] => []);
      const [system, statuses]: [string[], string[]] = [[], []];
      const channel = socket.channel(`realtime:${topic}`, { config: { ...config, postgres_changes: bindings } });
      channels.push(channel);
      let ids: readonly number[] = [];
      channel.on("postgres_changes", (change: { ids: number[]; data: { type: string; record?: Row } }) => {
        const { type, record = {} } = change.data;
        ids.forEach((id, i) => change.ids.includes(id) && received[i]?.push({ event: type, record }));
      });
      channel.on("system", ({ message }: { message: string }) => system.push(message));
      channel
        .join()
        .receive("ok", (response) => {
          ids = (response as { postgres_changes: { id: number }[] }).postgres_changes.map(({ id }) => id);
          statuses.push("SUBSCRIBED");
        })
        .receive("error", (response) => statuses.push(`CHANNEL_ERROR ${(response as { reason: string }).reason}`));
      return { received, system, statuses, leave: () => void channel.leave() };
    },
    setToken: (newer) => channels.forEach((channel) => channel.push("access_token", { access_token: newer })),
    disconnect: () => void socket.disconnect(),
  };
}
