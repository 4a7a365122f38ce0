import { isObject, memberSlices, parseJson, serializerV1, type Serializer } from "@walcast/protocol";
import type { HttpRequest, HttpResponse, TemplatedApp } from "uWebSockets.js";
import type { ClientSocket } from "../client-socket.ts";
import type { Connection } from "../connection.ts";
import { namedHeaders } from "./named-headers.ts";

export interface EventStreamsOptions {
  /** Why a client is not let in, if it is not. */
  readonly refusal: (
    token: string | undefined,
  ) => Promise<{ readonly status: string; readonly text: string } | undefined>;
  readonly connect: (client: {
    readonly socket: ClientSocket;
    readonly serializer: Serializer;
    readonly token: string;
    readonly headers: Readonly<Record<string, string>>;
  }) => Connection;
  /** Told of each stream that begins and ends. */
  readonly onOpen: () => void;
  readonly onClose: () => void;
  /** A client that has this much unread is too slow. */
  readonly outboxLimitBytes: number;
  /** Headers beside `x-*` that policies may look at. */
  readonly rlsHeaders: readonly string[];
}

/** Proxies close what is silent for a minute. */
const pingEveryMs = 15_000;

/**
 * Changes over plain HTTP, as server-sent events (HTML Standard, "Server-sent events"): one channel, without a WebSocket. The
 * id of each event is its position, so that a client which comes back with `Last-Event-ID`, as browsers do by themselves,
 * gets what it missed. Filters, rights and limits are those of every channel: behind it is a connection like any other.
 */
export class EventStreams {
  readonly #options: EventStreamsOptions;
  readonly #streams = new Map<Connection, EventStream>();
  readonly #listeners = new Map<string, Set<EventStream>>();
  readonly #ping: NodeJS.Timeout;

  constructor(options: EventStreamsOptions) {
    this.#options = options;
    this.#ping = setInterval(() => this.#streams.forEach((stream) => stream.write(": \n\n")), pingEveryMs);
    this.#ping.unref();
  }

  get connections(): Iterable<Connection> {
    return this.#streams.keys();
  }

  addTo(app: TemplatedApp): void {
    const { rlsHeaders } = this.#options;
    for (const path of ["/sse", "/realtime/v1/sse"]) {
      app.get(path, (response, request) => void this.#open(response, readRequest(request, rlsHeaders)));
    }
  }

  /** Bytes that are no text are nothing that an event could carry. */
  publish(name: string, frame: string | Uint8Array): void {
    const listeners = this.#listeners.get(name);
    if (listeners === undefined) return;
    const event = eventOf(typeof frame === "string" ? frame : Buffer.from(frame).toString());
    if (event !== undefined) for (const stream of listeners) stream.write(event);
  }

  close(): void {
    clearInterval(this.#ping);
    for (const stream of this.#streams.values()) stream.end();
  }

  async #open(response: HttpResponse, { token, join, headers }: StreamRequest): Promise<void> {
    let isAborted = false;
    let connection: Connection | undefined;
    response.onAborted(() => {
      isAborted = true;
      if (connection !== undefined) this.#closed(connection);
    });
    const refusal = await this.#options.refusal(token);
    if (isAborted) return;
    if (refusal !== undefined) return answer(response, refusal.status, { error: refusal.text });
    const stream = new EventStream(response, {
      limitBytes: this.#options.outboxLimitBytes,
      listeners: this.#listeners,
      onEnd: () => connection && this.#closed(connection),
    });
    response.cork(() => {
      response.writeStatus("200 OK");
      for (const [name, value] of streamHeaders) response.writeHeader(name, value);
      response.write(": \n\n");
    });
    connection = this.#options.connect({ socket: stream, serializer: serializerV1, token: token ?? "", headers });
    this.#streams.set(connection, stream);
    this.#options.onOpen();
    connection.receive(join);
  }

  #closed(connection: Connection): void {
    const stream = this.#streams.get(connection);
    if (stream === undefined) return;
    this.#streams.delete(connection);
    this.#options.onClose();
    stream.gone();
    connection.closed();
  }
}

const streamHeaders = [
  ["content-type", "text/event-stream; charset=utf-8"],
  ["cache-control", "no-store"],
  ["access-control-allow-origin", "*"],
  ["x-accel-buffering", "no"], // nginx would hold events back
] as const;

interface StreamRequest {
  readonly token: string | undefined;
  /** The join that a client with a WebSocket would have sent. */
  readonly join: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** All of it is read here: it is gone after the first await. */
function readRequest(request: HttpRequest, rlsHeaders: readonly string[]): StreamRequest {
  const query = new URLSearchParams(request.getQuery());
  const bearer = /^bearer\s+(.+)$/iu.exec(request.getHeader("authorization"))?.[1];
  const token = bearer ?? (request.getHeader("x-api-key") || query.get("apikey") || undefined);
  const from = request.getHeader("last-event-id") || query.get("from") || undefined;
  const select = query.get("select")?.split(",");
  const binding = {
    event: query.get("event") ?? "*",
    schema: query.get("schema") ?? "public",
    ...optional("table", query.get("table")),
    ...optional("filter", query.get("filter")),
    ...optional("select", select),
  };
  const config = {
    // Without a table it is a stream of broadcasts.
    postgres_changes: query.has("table") || query.has("schema") ? [binding] : [],
    private: query.get("private") === "true",
    meta: query.get("meta") === "true",
    ...optional("resume", from === undefined ? undefined : { from }),
  };
  const topic = `realtime:${query.get("topic") ?? "sse"}`;
  return {
    token,
    headers: namedHeaders(request, rlsHeaders),
    join: JSON.stringify({ topic, event: "phx_join", payload: { config }, ref: "1", join_ref: "1" }),
  };
}

const optional = <T>(name: string, value: T | null | undefined): Record<string, T> =>
  value === null || value === undefined ? {} : { [name]: value };

function answer(response: HttpResponse, status: string, body: object): void {
  response.cork(() => {
    response.writeStatus(status);
    response.writeHeader("content-type", "application/json; charset=utf-8").end(JSON.stringify(body));
  });
}

/** A frame of vsn 1.0.0 as an event, its values as they are spelled; `undefined` for what only channels are told. */
function eventOf(frame: string): string | undefined {
  const parsed = parseJson(frame);
  const payload = memberSlices(frame).get("payload");
  if (!isObject(parsed) || !isObject(parsed["payload"]) || payload === undefined) return undefined;
  const { event, payload: fields } = parsed;
  if (event === "postgres_changes" && isObject(fields["data"])) {
    return `id: ${String(fields["data"]["position"])}\nevent: change\n${dataOf(memberSlices(payload).get("data") ?? "")}\n`;
  }
  if (event === "broadcast") return `event: broadcast\n${dataOf(payload)}\n`;
  if (event !== "system") return undefined;
  // A place to come back to even before the first change, and behind a gap.
  const id = typeof fields["position"] === "string" ? `id: ${fields["position"]}\n` : "";
  return `${id}event: system\n${dataOf(payload)}\n`;
}

/** JSON as its sender spelled it may go over several lines: a field each, which are joined again at the other end. */
const dataOf = (json: string): string => `data: ${json.replaceAll(/\r\n|\r|\n/gu, "\ndata: ")}\n`;

/** A comment, which readers pass over. */
const nothing = ":\n";

/** The response as the socket of a connection. */
class EventStream implements ClientSocket {
  readonly #response: HttpResponse;
  readonly #options: {
    readonly limitBytes: number;
    readonly listeners: Map<string, Set<EventStream>>;
    readonly onEnd: () => void;
  };
  readonly #names = new Set<string>();
  /** What is written as soon as the server has nothing left to send, oldest first. */
  #queue: string[] = [];
  #queuedBytes = 0;
  /** Written last, and not through yet. */
  #blockedBytes = 0;
  #isGone = false;

  constructor(
    response: HttpResponse,
    options: {
      readonly limitBytes: number;
      readonly listeners: Map<string, Set<EventStream>>;
      readonly onEnd: () => void;
    },
  ) {
    this.#response = response;
    this.#options = options;
    // When this is called the server sends no more of what it holds until something else is written.
    response.onWritable(() => {
      if (this.#writes(nothing)) {
        this.#blockedBytes = 0;
        this.#sendQueue();
      }
      return true;
    });
  }

  send(frame: string | Uint8Array): void {
    if (typeof frame !== "string") return; // it speaks vsn 1.0.0, which has no bytes
    const { event, payload } = (parseJson(frame) ?? {}) as { event?: unknown; payload?: Record<string, unknown> };
    if (event === "phx_reply" && payload?.["status"] === "error") {
      this.write(`event: refused\ndata: ${JSON.stringify(payload["response"])}\n\n`);
      return this.end();
    }
    if (event === "phx_close" || event === "phx_error") return this.end();
    const text = eventOf(frame);
    if (text !== undefined) this.write(text);
  }

  sendAll(frames: readonly Uint8Array[]): void {
    this.write(frames.map((frame) => eventOf(Buffer.from(frame).toString()) ?? "").join(""));
  }

  unsentBytes(): number {
    return this.#queuedBytes + this.#blockedBytes;
  }

  subscribe(name: string): void {
    const { listeners } = this.#options;
    this.#names.add(name);
    listeners.set(name, (listeners.get(name) ?? new Set()).add(this));
  }

  unsubscribe(name: string): void {
    const { listeners } = this.#options;
    this.#names.delete(name);
    const others = listeners.get(name);
    others?.delete(this);
    if (others?.size === 0) listeners.delete(name);
  }

  /** Nobody sends broadcasts this way. */
  publish = (): void => undefined;

  end(): void {
    if (this.#isGone) return;
    this.#response.cork(() => this.#response.end(this.#queue.join("")));
    this.#options.onEnd();
  }

  write(text: string): void {
    if (this.#isGone || text === "") return;
    this.#queue.push(text);
    this.#queuedBytes += Buffer.byteLength(text);
    this.#sendQueue();
    if (this.unsentBytes() <= this.#options.limitBytes) return;
    // It comes back with the id of the last event that it has.
    this.#queue = [];
    this.end();
  }

  #sendQueue(): void {
    while (this.#blockedBytes === 0) {
      const text = this.#queue.shift();
      if (text === undefined) return;
      const bytes = Buffer.byteLength(text);
      this.#queuedBytes -= bytes;
      if (!this.#writes(text)) this.#blockedBytes = bytes;
    }
  }

  /** Whether everything that was written so far has left. */
  #writes(text: string): boolean {
    let isThrough = true;
    this.#response.cork(() => (isThrough = this.#response.write(text)));
    return isThrough;
  }

  /** The response is not to be touched any more. */
  gone(): void {
    this.#isGone = true;
    for (const name of this.#names) this.unsubscribe(name);
  }
}
