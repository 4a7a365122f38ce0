import { createHmac } from "node:crypto";
import { MemoryNetwork, type Bus } from "@walcast/bus";
import { MemoryChangeLog, type ChangeLog } from "@walcast/change-log";
import { loadConfig } from "@walcast/config";
import type { PresenceStore } from "@walcast/presence";
import { createLogger, Health, Registry } from "@walcast/telemetry";
import { freePort, waitUntil } from "@walcast/testkit";
import { afterEach, expect } from "vitest";
import { allRights, type ChannelRights, type Rights } from "./channel-rights.ts";
import { startGateway } from "./compose.ts";
import { clientSettings } from "./config.ts";
import type { ReadHistory } from "./replays.ts";

// For tests: whole gateways in this process, with real sockets; only the policies are the test's own.

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

export interface TestGateway {
  readonly base: string;
  metric(name: string): Promise<number>;
}

export interface TestGatewayOptions {
  readonly network?: MemoryNetwork;
  readonly bus?: Bus;
  readonly channelRights?: ChannelRights;
  readonly readHistory?: ReadHistory;
  readonly changeLog?: ChangeLog;
  /** What several gateways share; 600 ms a lease. */
  readonly presence?: PresenceStore;
  readonly env?: Readonly<Record<string, string>>;
}

export const testLeaseMs = 600;
export const secret = "a-secret-of-at-least-32-characters!!";

export async function startTestGateway(options: TestGatewayOptions = {}): Promise<TestGateway> {
  const port = await freePort();
  const registry = new Registry();
  const { network = new MemoryNetwork(), channelRights, readHistory, changeLog, presence } = options;
  const service = await startGateway({
    config: loadConfig(clientSettings, { PORT: String(port), SECURE_CHANNELS: "false", ...options.env }),
    host: "127.0.0.1",
    drainWindowMs: 0,
    database: { connectionString: "postgres://nobody:asks@127.0.0.1:1/anything" },
    openChangeLog: () => Promise.resolve(changeLog ?? new MemoryChangeLog()),
    openBus: () => options.bus ?? network.open(),
    ...(channelRights === undefined ? {} : { channelRights }),
    ...(readHistory === undefined ? {} : { readHistory }),
    ...(presence === undefined ? {} : { shared: { presence, leaseMs: testLeaseMs, close: () => undefined } }),
    log: createLogger("a test", { level: "silent", format: "json" }),
    health: new Health(),
    registry,
  });
  const stop = new AbortController();
  const running = service.run(stop.signal);
  ends.push(async () => {
    await service.drain?.();
    stop.abort();
    await running;
  });
  return {
    base: `http://127.0.0.1:${port}`,
    async metric(line) {
      const text = await registry.metrics();
      return Number(
        text
          .split("\n")
          .find((one) => one.startsWith(`${line} `))
          ?.split(" ")
          .at(-1) ?? 0,
      );
    },
  };
}

export type Vsn = "1.0.0" | "2.0.0";

export interface TestSocket {
  /** Frames without answers to `settled`: parsed text, and kind 4 frames as `[topic, event, encoding, payload]`. */
  readonly frames: unknown[];
  send(topic: string, event: string, payload: unknown, ref?: string): void;
  sendRaw(frame: string | Uint8Array): void;
  join(topic: string, config?: object, more?: object): Promise<unknown>;
  /** Everything that was sent has been handled. */
  settled(): Promise<void>;
  /** The broadcasts it got. */
  broadcasts(): unknown[];
  /** Closes it from this side. */
  close(): void;
  /** The code it was closed with. */
  readonly closed: Promise<number>;
}

export async function openSocket({ base }: TestGateway, vsn: Vsn = "2.0.0", apikey = "x"): Promise<TestSocket> {
  const socket = new WebSocket(`${base.replace("http", "ws")}/socket/websocket?vsn=${vsn}&apikey=${apikey}`);
  socket.binaryType = "arraybuffer";
  const all: unknown[] = [];
  socket.addEventListener("message", (message) => {
    const data = message.data as string | ArrayBuffer;
    all.push(typeof data === "string" ? (JSON.parse(data) as unknown) : readKind4(Buffer.from(data)));
  });
  const closed = new Promise<number>((resolve) => {
    socket.addEventListener("close", ({ code }) => resolve(code));
  });
  await new Promise((resolve) => socket.addEventListener("open", resolve));
  let refs = 0;
  const fieldsOf = (frame: unknown): { ref?: unknown; event?: unknown; payload?: unknown } => {
    if (!Array.isArray(frame)) return frame as object;
    const [, ref, , event, payload] = frame as unknown[];
    return { ref, event, payload };
  };
  const send: TestSocket["send"] = (topic, event, payload, ref = `r${++refs}`) => {
    const object = { topic, event, payload, ref, join_ref: "j" };
    socket.send(JSON.stringify(vsn === "1.0.0" ? object : ["j", ref, topic, event, payload]));
  };
  const answer = async (ref: string): Promise<unknown> =>
    fieldsOf(await waitUntil(() => all.find((frame) => fieldsOf(frame).ref === ref), { what: `the answer to ${ref}` }))
      .payload;
  const told = (): unknown[] => all.filter((frame) => !String(fieldsOf(frame).ref).startsWith("r"));
  return {
    get frames() {
      return told();
    },
    send,
    sendRaw: (frame) => socket.send(frame),
    close: () => socket.close(),
    closed,
    join(topic, config = {}, more = {}) {
      send(topic, "phx_join", { config, ...more }, `r${++refs}`);
      return answer(`r${refs}`);
    },
    async settled() {
      send("realtime:nowhere", "settled", {}, `r${++refs}`);
      await answer(`r${refs}`);
    },
    broadcasts() {
      return told().flatMap((frame) =>
        Buffer.isBuffer((frame as unknown[])[3])
          ? [frame]
          : fieldsOf(frame).event === "broadcast"
            ? [fieldsOf(frame).payload]
            : [],
      );
    },
  };
}

/** Metadata, where there are any, come last. */
export function readKind4(bytes: Buffer): [topic: string, event: string, encoding: number, ...rest: unknown[]] {
  const [kind, topicLength = 0, eventLength = 0, metadataLength = 0, encoding = -1] = bytes;
  expect(kind).toBe(4);
  const namesEnd = 5 + topicLength + eventLength;
  const event = bytes.subarray(5 + topicLength, namesEnd).toString();
  return [
    bytes.subarray(5, 5 + topicLength).toString(),
    event,
    encoding,
    bytes.subarray(namesEnd + metadataLength),
    ...(metadataLength === 0 ? [] : [JSON.parse(bytes.subarray(namesEnd, namesEnd + metadataLength).toString())]),
  ];
}

export function kind3({
  topic,
  event,
  ref = "",
  encoding = 1,
  payload,
}: {
  topic: string;
  event: string;
  ref?: string;
  encoding?: number;
  payload: Buffer | string;
}): Uint8Array {
  const parts = ["j", ref, topic, event, ""].map((part) => Buffer.from(part));
  const header = Buffer.from([3, ...parts.map((part) => part.length), encoding]);
  return Buffer.concat([header, ...parts, Buffer.from(payload)]);
}

export const room = "realtime:room";
export const okJoin = { status: "ok", response: { postgres_changes: [] } };
export const text = { type: "broadcast", event: "e", payload: { a: 1 } };

const none = { read: false, write: false };
export const readOnly: Rights = { broadcast: { read: true, write: false }, presence: none };
export const presenceOnly: Rights = { broadcast: none, presence: { read: true, write: true } };
export const nothing: Rights = { broadcast: none, presence: none };

/** Rights by the role of the token; notes what it was asked. */
export function policies(byRole: Readonly<Record<string, Rights | "failure">>): {
  rights: ChannelRights;
  asked: string[];
} {
  const asked: string[] = [];
  const rights: ChannelRights = ({ subtopic, claims }) => {
    asked.push(`${claims?.role} ${subtopic}`);
    const found = byRole[claims?.role ?? ""] ?? allRights;
    return found === "failure" ? Promise.reject(new Error("no database")) : Promise.resolve(found);
  };
  return { rights, asked };
}

export const env = { SECURE_CHANNELS: "true", JWT_SECRET: secret };
export function tokenOf(role: string, exp = Math.floor(Date.now() / 1000) + 600): string {
  const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString("base64url");
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ role, exp })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
