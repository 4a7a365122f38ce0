import { setTimeout as delay } from "node:timers/promises";
import { upgradeRefusal, type TokenVerifier } from "@walcast/authz";
import { CloseCode, negotiateSerializer, type Serializer } from "@walcast/protocol";
import { describeError, type Health, type Logger, type Registry } from "@walcast/telemetry";
import {
  App,
  us_listen_socket_close,
  type HttpRequest,
  type HttpResponse,
  type TemplatedApp,
  type us_listen_socket,
  type us_socket_context_t,
  type WebSocket,
} from "uWebSockets.js";
import type { ClientConfig } from "../config.ts";
import type { ClientSocket } from "../client-socket.ts";
import type { Connection } from "../connection.ts";
import { ListenError } from "../errors.ts";
import type { HttpBroadcast } from "../http-broadcast.ts";
import type { Inspector } from "../inspector.ts";
import type { Limit, Limits } from "../limits.ts";
import type { GatewayMetrics } from "../metrics.ts";
import { readResumeId, type ResumeId } from "../resume-id.ts";
import { addBroadcastRoutes } from "./broadcast-routes.ts";
import { disabled, sharedCompressor } from "./compression.ts";
import { EventStreams } from "./event-streams.ts";
import { addHttpRoutes } from "./http-routes.ts";
import { addInspectorRoutes } from "./inspector-routes.ts";
import { namedHeaders } from "./named-headers.ts";
import { ReceivedFrames } from "./received-frames.ts";
import { cutLimitBytes, SlowConsumers } from "./slow-consumers.ts";

export interface ServerOptions {
  readonly config: ClientConfig;
  readonly host: string;
  readonly verifyToken: TokenVerifier | undefined;
  readonly health: Health;
  readonly registry: Registry;
  readonly metrics: GatewayMetrics;
  readonly limits: Limits;
  readonly log: Logger;
  readonly broadcasts: () => HttpBroadcast;
  readonly inspector?: Inspector | undefined;
  readonly connect: (client: {
    readonly socket: ClientSocket;
    readonly serializer: Serializer;
    readonly token: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly resumeId?: string | undefined;
  }) => Connection;
}

interface SocketData {
  readonly serializer: Serializer;
  readonly token: string;
  readonly named: Readonly<Record<string, string>>;
  readonly resumeId: string | undefined;
  connection?: Connection;
  /** The library's socket is not to be touched any more. */
  isGone: boolean;
  isCounted: boolean;
}

/** Why an upgrade is refused. `reason` is for metrics: a text may hold what a client chose. */
interface Refusal {
  readonly status: string;
  readonly text: string;
  readonly reason: string;
}

const resumeRefusal = (resume: ResumeId): Refusal | undefined =>
  resume.tag === "invalid" ? { status: "400 Bad Request", text: resume.reason, reason: "resumeId" } : undefined;

/** Frames up to here are read, so that one beyond the configured limit can be refused with a code instead of a cut. */
const readLimitBytes = 16 * 1024 * 1024 + 1024;
/** uSockets: do not share the port with another process. */
const exclusivePort = 1;
const sweepEveryMs = 5_000;

/** The WebSocket server: translates between uWebSockets.js and connections, and nothing else. */
export class Server {
  readonly #options: ServerOptions;
  readonly #app: TemplatedApp;
  readonly #connections = new Map<Connection, WebSocket<SocketData>>();
  readonly #slowConsumers: SlowConsumers;
  readonly #eventStreams: EventStreams;
  readonly #received = new ReceivedFrames<Connection>({
    handle: (connection, frame) => this.#handle(connection, frame),
  });
  /** Sockets, also those of clients that were let go, and event streams. */
  #open = 0;
  #listenSocket: us_listen_socket | undefined;
  #sweep: NodeJS.Timeout | undefined;
  #isDraining = false;

  constructor(options: ServerOptions) {
    this.#options = options;
    const limitBytes = options.config.OUTBOX_LIMIT_BYTES;
    this.#slowConsumers = new SlowConsumers({ limitBytes, look: () => this.#letSlowConsumersGo() });
    this.#app = App();
    for (const path of ["/socket/websocket", "/realtime/v1/websocket"]) this.#addWebSocket(path);
    this.#eventStreams = new EventStreams({
      refusal: (token) => this.#refusal(token),
      connect: options.connect,
      onOpen: () => this.#counted(1),
      onClose: () => this.#counted(-1),
      outboxLimitBytes: options.config.OUTBOX_LIMIT_BYTES,
      rlsHeaders: options.config.RLS_HEADERS,
    });
    this.#eventStreams.addTo(this.#app);
    addBroadcastRoutes(this.#app, options);
    const { inspector } = options;
    if (inspector !== undefined) {
      addInspectorRoutes(this.#app, { inspector, refusal: (token) => this.#refusal(token) });
    }
    addHttpRoutes(this.#app, { ...options, isDraining: () => this.#isDraining });
  }

  get connections(): Iterable<Connection> {
    return [...this.#connections.keys(), ...this.#eventStreams.connections];
  }

  publish = (name: string, frame: Buffer): void => {
    this.#app.publish(name, frame, false, this.#isCompressed(frame));
    this.#published(frame);
    this.#eventStreams.publish(name, frame);
  };

  /** A string goes as text, bytes as a binary frame. */
  publishFrame = (name: string, frame: string | Uint8Array): void => {
    this.#app.publish(name, frame, typeof frame !== "string", this.#isCompressed(frame));
    this.#published(frame);
    if (typeof frame === "string") this.#eventStreams.publish(name, frame);
  };

  /** Throws ListenError. */
  async listen(): Promise<void> {
    const { host, config } = this.#options;
    await new Promise<void>((resolve, reject) => {
      const onListen = (socket: us_listen_socket | false): void => {
        if (socket === false) return reject(new ListenError(host, config.PORT));
        this.#listenSocket = socket;
        return resolve();
      };
      // The types do not know it, the library does: host, port, options, callback.
      const listen = this.#app.listen.bind(this.#app) as unknown as (
        host: string,
        port: number,
        options: number,
        callback: typeof onListen,
      ) => void;
      listen(host, config.PORT, exclusivePort, onListen);
    });
    this.#sweep = setInterval(() => this.#closeIdle(), sweepEveryMs);
    this.#slowConsumers.start();
  }

  /** Closes all connections, spread over `windowMs` so that they do not all return to the next gateway at once. */
  async drain(windowMs: number): Promise<void> {
    if (this.#isDraining) return;
    this.#isDraining = true;
    const connections = [...this.connections];
    const perTick = Math.max(1, Math.ceil(connections.length / Math.max(1, windowMs / 50)));
    for (let i = 0; i < connections.length; i += perTick) {
      for (const connection of connections.slice(i, i + perTick)) connection.drain();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  close(): void {
    clearInterval(this.#sweep);
    this.#slowConsumers.stop();
    if (this.#listenSocket !== undefined) us_listen_socket_close(this.#listenSocket);
    this.#listenSocket = undefined;
    this.#eventStreams.close();
    this.#app.close();
  }

  #closeIdle(): void {
    const { IDLE_TIMEOUT_MS: idleMs, NO_CHANNEL_TIMEOUT_IN_MS: noChannelMs } = this.#options.config;
    const nowMs = performance.now();
    for (const connection of this.#connections.keys()) {
      const { lastHeardMs, channellessSinceMs = nowMs } = connection;
      if (lastHeardMs < nowMs - idleMs) connection.end(CloseCode.Idle, "idle");
      else if (noChannelMs !== 0 && channellessSinceMs <= nowMs - noChannelMs)
        connection.end(CloseCode.Idle, "no channel for a long time");
    }
  }

  #letSlowConsumersGo(): void {
    for (const [connection, socket] of this.#connections) {
      if (!this.#slowConsumers.isSlow(socket)) continue;
      this.#forget(connection, socket);
      this.#slowConsumers.letGo(socket);
      this.#countSlow(socket);
    }
  }

  #countSlow(socket: WebSocket<SocketData>): void {
    const data = socket.getUserData();
    if (data.isCounted) return;
    data.isCounted = true;
    this.#options.metrics.slowConsumers.inc();
  }

  /** Its channels end; what it sent so far has been handled. */
  #forget(connection: Connection, socket: WebSocket<SocketData>): void {
    socket.getUserData().isGone = true;
    this.#received.handleAllOf(connection);
    if (this.#connections.delete(connection)) connection.closed();
  }

  #addWebSocket(path: string): void {
    const { config } = this.#options;
    this.#app.ws<SocketData>(path, {
      idleTimeout: 0, // ours answers with a close code
      sendPingsAutomatically: false,
      compression: config.COMPRESS_ABOVE_BYTES === 0 ? disabled : sharedCompressor,
      maxPayloadLength: readLimitBytes,
      maxBackpressure: cutLimitBytes(config.OUTBOX_LIMIT_BYTES),
      closeOnBackpressureLimit: true,
      upgrade: (response, request, context) => void this.#upgrade(response, request, context),
      open: (socket) => this.#opened(socket),
      message: (socket, message, isBinary) => this.#message(socket, message, isBinary),
      pong: (socket, payload) => socket.getUserData().connection?.places?.ponged(Buffer.from(payload).toString()),
      drain: (socket) => this.#slowConsumers.drained(socket),
      dropped: (socket) => this.#countSlow(socket),
      close: (socket) => {
        const { connection } = socket.getUserData();
        if (connection === undefined) return;
        this.#counted(-1);
        this.#slowConsumers.closed(socket);
        this.#forget(connection, socket);
      },
    });
  }

  async #upgrade(response: HttpResponse, request: HttpRequest, context: us_socket_context_t): Promise<void> {
    // All of the request is read here: it is gone after the first await.
    const headers = {
      key: request.getHeader("sec-websocket-key"),
      protocol: request.getHeader("sec-websocket-protocol"),
      extensions: request.getHeader("sec-websocket-extensions"),
    };
    const given = request.getHeader("x-api-key") || request.getQuery("apikey") || request.getQuery("token");
    const token = given === undefined || given === "" ? undefined : given;
    const serializer = negotiateSerializer(request.getQuery("vsn"));
    const named = namedHeaders(request, this.#options.config.RLS_HEADERS);
    const resume = readResumeId(request.getQuery("resume"));
    let isAborted = false;
    response.onAborted(() => (isAborted = true));
    const refusal = serializer === undefined ? undefined : (resumeRefusal(resume) ?? (await this.#refusal(token)));
    const backoffMs = this.#options.config.CONNECT_ERROR_BACKOFF_MS;
    if (refusal !== undefined && backoffMs > 0) await delay(backoffMs, undefined, { ref: false });
    if (isAborted) return;
    if (serializer !== undefined && refusal === undefined) {
      const resumeId = resume.tag === "id" ? resume.id : undefined;
      const data: SocketData = { serializer, token: token ?? "", named, resumeId, isGone: false, isCounted: false };
      // Not corked: after a cork the library looks at the socket as HTTP once more, and now and then closes what is a
      // WebSocket by then.
      response.upgrade(data, headers.key, headers.protocol, headers.extensions, context);
      return;
    }
    const { status, text, reason } = refusal ?? { status: "403 Forbidden", text: undefined, reason: "vsn" };
    this.#options.metrics.refusals.inc({ reason });
    response.cork(() => {
      response.writeStatus(status);
      if (text === undefined) response.end();
      else response.writeHeader("content-type", "application/json; charset=utf-8").end(JSON.stringify({ error: text }));
    });
  }

  /** In the order of the peer's checks (protocol.md 1.3). */
  async #refusal(token: string | undefined): Promise<Refusal | undefined> {
    const { limits } = this.#options;
    if (this.#isDraining)
      return { status: "503 Service Unavailable", text: "Server is shutting down", reason: "draining" };
    if (limits.isFull("connections", this.#open)) return this.#limitRefusal("connections", "503 Service Unavailable");
    const refusal = await this.#tokenRefusal(token);
    if (refusal !== undefined) return refusal;
    const limit = (["users", "joins"] as const).find((one) => limits.isOver(one));
    return limit === undefined ? undefined : this.#limitRefusal(limit, "429 Too Many Requests");
  }

  #limitRefusal(limit: Limit, status: string): Refusal {
    return { status, text: this.#options.limits.exceeded(limit), reason: limit };
  }

  async #tokenRefusal(token: string | undefined): Promise<Refusal | undefined> {
    const { verifyToken, log } = this.#options;
    if (verifyToken === undefined) return undefined;
    if (token === undefined) return { status: "401 Unauthorized", text: "API key is missing", reason: "tokenMissing" };
    try {
      const verdict = await verifyToken(token);
      return verdict.tag === "valid" ? undefined : { ...upgradeRefusal(verdict), reason: verdict.tag };
    } catch (error) {
      log.error(describeError(error), "verifying a token failed");
      return { status: "500 Internal Server Error", text: "Error connecting to Realtime", reason: "failure" };
    }
  }

  #opened(socket: WebSocket<SocketData>): void {
    const data = socket.getUserData();
    const whileOpen = (act: () => void): void => {
      if (!data.isGone) act();
    };
    const connection = this.#options.connect({
      serializer: data.serializer,
      token: data.token,
      headers: data.named,
      resumeId: data.resumeId,
      socket: {
        send: (frame) => whileOpen(() => this.#send(socket, frame, { isBinary: typeof frame !== "string" })),
        sendAll: (frames) =>
          whileOpen(() => socket.cork(() => frames.forEach((frame) => this.#send(socket, frame, { isBinary: false })))),
        unsentBytes: () => (data.isGone ? 0 : socket.getBufferedAmount()),
        subscribe: (name) => whileOpen(() => socket.subscribe(name)),
        unsubscribe: (name) => whileOpen(() => socket.unsubscribe(name)),
        // The last words of a client are heard by others, though its socket is gone.
        publish: (name, frame) => {
          if (data.isGone) this.publishFrame(name, frame);
          else {
            socket.publish(name, frame, typeof frame !== "string", this.#isCompressed(frame));
            this.#published(frame);
            if (typeof frame === "string") this.#eventStreams.publish(name, frame);
          }
        },
        end: (code, reason) => whileOpen(() => socket.end(code, reason)),
        ping: (payload) => whileOpen(() => socket.ping(payload)),
      },
    });
    data.connection = connection;
    this.#connections.set(connection, socket);
    this.#counted(1);
  }

  #counted(change: 1 | -1): void {
    this.#open += change;
    this.#options.metrics.connections.inc(change);
  }

  #published(frame: string | Uint8Array): void {
    this.#slowConsumers.published(frame.length);
    this.#received.published();
  }

  #send(socket: WebSocket<SocketData>, frame: string | Uint8Array, { isBinary }: { isBinary: boolean }): void {
    socket.send(frame, isBinary, this.#isCompressed(frame));
  }

  #isCompressed(frame: string | Uint8Array): boolean {
    const limit = this.#options.config.COMPRESS_ABOVE_BYTES;
    return limit > 0 && frame.length > limit;
  }

  #message(socket: WebSocket<SocketData>, message: ArrayBuffer, isBinary: boolean): void {
    const { connection, isGone } = socket.getUserData();
    if (connection === undefined || isGone) return;
    if (message.byteLength > this.#options.config.MAX_FRAME_BYTES) {
      return connection.end(CloseCode.TooBig, `frame above ${this.#options.config.MAX_FRAME_BYTES} bytes`);
    }
    // The bytes are gone when this returns.
    const frame = isBinary ? Buffer.from(message.slice(0)) : Buffer.from(message).toString("utf8");
    this.#received.add(connection, frame);
  }

  #handle(connection: Connection, frame: string | Buffer): void {
    if (!this.#connections.has(connection)) return;
    if (typeof frame === "string") connection.receive(frame);
    else connection.receiveBinary(frame);
  }
}
