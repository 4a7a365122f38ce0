import { createRequire } from "node:module";
import { waitUntil } from "@walcast/testkit";
import { openRaw, type RawSocket } from "./raw-socket.ts";

// The published client packages as an application uses them for presence, behind one small interface.

const require = createRequire(import.meta.url);

export const presenceClients = {
  "realtime-js 2.0.0": {},
  "realtime-js 2.10.0": {},
  "realtime-js 2.81.0": {},
  "realtime-js 2.81.0, vsn 2.0.0": { vsn: "2.0.0" },
  "realtime-js 2.119.0": {},
  phoenix: {},
} as const;
export type PresenceClientName = keyof typeof presenceClients;
export const presenceClientNames = Object.keys(presenceClients) as PresenceClientName[];

export interface PresenceOptions {
  readonly key?: string;
  /** `undefined`: the client sends nothing of it, as old ones do. */
  readonly enabled?: boolean;
  readonly private?: boolean;
}

/** By key, what is tracked under it, without the server's own names. */
export type Present = Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>;

export interface PresenceChannel {
  readonly name: PresenceClientName;
  /** Keys that the client's callbacks named, in order: `+key`, `-key`. */
  readonly heard: string[];
  readonly statuses: string[];
  /** Resolves with `ok`, `error` or `timed out`, as the client says. */
  track(meta: object): Promise<string>;
  untrack(): Promise<string>;
  present(): Present;
  leave(): void;
  disconnect(): void;
}

const withoutRefs = (meta: object): Record<string, unknown> =>
  Object.fromEntries(Object.entries(meta).filter(([name]) => !name.startsWith("phx_ref") && name !== "presence_ref"));

/** `base`: the gateway's address, `http://…`. Resolves when the channel is joined. */
export async function joinPresence(
  name: PresenceClientName,
  base: string,
  { topic, ...options }: PresenceOptions & { readonly topic: string },
): Promise<PresenceChannel> {
  const channel =
    name === "phoenix" ? joinWithPhoenix(base, topic, options) : joinWithRealtime(name, base, { topic, options });
  await waitUntil(() => channel.statuses.includes("SUBSCRIBED"), {
    what: `${name} to have joined ${topic}, it says ${channel.statuses.join()}`,
  });
  return channel;
}

interface RealtimeChannel {
  on(type: "presence", filter: { event: string }, callback: (message: { key: string }) => void): RealtimeChannel;
  subscribe(callback: (status: string) => void): RealtimeChannel;
  track(meta: object): Promise<string>;
  untrack(): Promise<string>;
  unsubscribe(): unknown;
  presenceState(): Readonly<Record<string, readonly object[]>>;
}

function joinWithRealtime(
  name: PresenceClientName,
  base: string,
  { topic, options }: { readonly topic: string; readonly options: PresenceOptions },
): PresenceChannel {
  const version = /\d+\.\d+\.\d+/.exec(name)?.[0];
  const { RealtimeClient } = require(`realtime-js-${version}`) as {
    RealtimeClient: new (
      url: string,
      options: object,
    ) => { connect(): void; disconnect(): void; channel(topic: string, options: object): RealtimeChannel };
  };
  const client = new RealtimeClient(`${base.replace("http", "ws")}/socket`, {
    params: { apikey: "any", eventsPerSecond: 1_000_000 },
    logger: () => undefined,
    ...presenceClients[name],
  });
  client.connect();
  const [heard, statuses]: string[][] = [[], []];
  const { private: isPrivate = false, ...presence } = options;
  const channel = client.channel(topic, { config: { presence, private: isPrivate } });
  channel.on("presence", { event: "join" }, ({ key }) => heard?.push(`+${key}`));
  channel.on("presence", { event: "leave" }, ({ key }) => heard?.push(`-${key}`));
  channel.subscribe((status) => statuses?.push(status));
  /** 2.0.0 sends at most one message in a turn of the event loop. */
  const untilSent = async (send: () => Promise<string>): Promise<string> => {
    for (;;) {
      const outcome = await send();
      if (outcome !== "rate limited") return outcome;
      await new Promise(setImmediate);
    }
  };
  return {
    name,
    heard: heard ?? [],
    statuses: statuses ?? [],
    track: (meta) => untilSent(() => channel.track(meta)),
    untrack: () => untilSent(() => channel.untrack()),
    present: () =>
      Object.fromEntries(Object.entries(channel.presenceState()).map(([key, metas]) => [key, metas.map(withoutRefs)])),
    leave: () => void channel.unsubscribe(),
    disconnect: () => client.disconnect(),
  };
}

interface PhoenixPush {
  receive(status: string, callback: () => void): PhoenixPush;
}
interface PhoenixChannel {
  join(): PhoenixPush;
  leave(): PhoenixPush;
  push(event: string, payload: object): PhoenixPush;
}
interface PhoenixPresence {
  onJoin(callback: (key: string) => void): void;
  onLeave(callback: (key: string) => void): void;
  list<T>(choose: (key: string, presence: { readonly metas: readonly object[] }) => T): T[];
}

/** The plain Phoenix client with its Presence class, which is what all others were made of. */
function joinWithPhoenix(base: string, topic: string, options: PresenceOptions): PresenceChannel {
  const { Socket, Presence } = require("phoenix") as {
    Socket: new (
      url: string,
      options: object,
    ) => { connect(): void; disconnect(): void; channel(topic: string, payload: object): PhoenixChannel };
    Presence: new (channel: PhoenixChannel) => PhoenixPresence;
  };
  const params = { apikey: "any" };
  const socket = new Socket(`${base.replace("http", "ws")}/socket`, { params, transport: WebSocket });
  socket.connect();
  const { private: isPrivate = false, ...wanted } = options;
  const channel = socket.channel(`realtime:${topic}`, { config: { presence: wanted, private: isPrivate } });
  const presence = new Presence(channel);
  const heard: string[] = [];
  const statuses: string[] = [];
  presence.onJoin((key) => heard.push(`+${key}`));
  presence.onLeave((key) => heard.push(`-${key}`));
  channel.join().receive("ok", () => statuses.push("SUBSCRIBED"));
  const push = (payload: object): Promise<string> =>
    new Promise((resolve) => {
      const sent = channel.push("presence", { type: "presence", ...payload });
      for (const status of ["ok", "error", "timeout"]) sent.receive(status, () => resolve(status));
    });
  return {
    name: "phoenix",
    heard,
    statuses,
    track: (meta) => push({ event: "track", payload: meta }),
    untrack: () => push({ event: "untrack" }),
    present: () => Object.fromEntries(presence.list((key, { metas }) => [key, metas.map(withoutRefs)] as const)),
    leave: () => void channel.leave(),
    disconnect: () => socket.disconnect(),
  };
}

/** A channel spoken by hand, many of which cost little. */
export interface RawPresence {
  readonly socket: RawSocket;
  readonly key: string;
  /** Sends and does not wait. */
  track(meta: object): void;
  untrack(): void;
  /** What the frames so far add up to; throws where they contradict each other. */
  present(): Present;
  end(): void;
}

type Metas = Readonly<Record<string, { readonly metas: readonly ({ readonly phx_ref: string } & object)[] }>>;

export async function joinRaw(base: string, topic: string, key: string): Promise<RawPresence> {
  const socket = await openRaw(`${base.replace("http", "ws")}/socket`, { vsn: "2.0.0", apikey: "any" });
  let refs = 0;
  const send = (event: string, payload: object): void =>
    socket.send(["1", String(++refs), `realtime:${topic}`, event, payload]);
  send("phx_join", { config: { presence: { enabled: true, key } } });
  await socket.next((frame) => (frame as unknown[])[3] === "presence_state", `the state of ${topic}`);
  return {
    socket,
    key,
    track: (meta) => send("presence", { type: "presence", event: "track", payload: meta }),
    untrack: () => send("presence", { type: "presence", event: "untrack" }),
    present: () => addUp(socket.frames),
    end: () => socket.end(),
  };
}

/** Strict, where client libraries forgive: a join of what is there, or a leave of what is not, is an error. */
function addUp(frames: readonly unknown[]): Present {
  const byRef = new Map<string, { readonly key: string; readonly meta: object }>();
  let hasState = false;
  for (const frame of frames) {
    const [, , , event, payload] = frame as unknown[];
    if (event === "presence_state") {
      if (hasState) throw new Error("a second state");
      hasState = true;
      add(payload as Metas);
    } else if (event === "presence_diff") {
      if (!hasState) throw new Error("a diff before the state");
      const { joins, leaves } = payload as { joins: Metas; leaves: Metas };
      for (const [key, { metas }] of Object.entries(leaves)) {
        for (const { phx_ref: ref } of metas)
          if (!byRef.delete(ref)) throw new Error(`${key} leaves with ${ref}, which was not there`);
      }
      add(joins);
    }
  }
  function add(joins: Metas): void {
    for (const [key, { metas }] of Object.entries(joins)) {
      for (const meta of metas) {
        if (byRef.has(meta.phx_ref)) throw new Error(`${key} joins with ${meta.phx_ref}, which was there`);
        byRef.set(meta.phx_ref, { key, meta: withoutRefs(meta) });
      }
    }
  }
  const present: Record<string, Record<string, unknown>[]> = {};
  for (const { key, meta } of byRef.values()) (present[key] ??= []).push(meta as Record<string, unknown>);
  return sorted(present);
}

/** With keys and metas in an order of their own, to be compared. */
export const sorted = (present: Present): Present =>
  Object.fromEntries(
    Object.keys(present)
      .toSorted()
      .map((key) => [key, (present[key] ?? []).toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))]),
  );
