import type { Claims, TokenVerifier } from "@walcast/authz";
import { isObject, parseJson, toBytes, toText, topicPrefix, type Broadcast } from "@walcast/protocol";
import { parseBatch, type BatchMessage } from "./batch-request.ts";
import type { Broadcaster } from "./broadcaster.ts";
import type { ChannelRights, RightsRequest } from "./channel-rights.ts";
import type { Limits } from "./limits.ts";
import type { GatewayMetrics } from "./metrics.ts";

export interface HttpBroadcastOptions {
  /** `undefined`: anyone may send. */
  readonly verifyToken: TokenVerifier | undefined;
  readonly channelRights: ChannelRights;
  readonly broadcaster: Broadcaster;
  readonly metrics: GatewayMetrics;
  readonly limits: Limits;
}

/** Headers of a request, "" where there is none. */
export interface HttpCredentials {
  readonly authorization: string;
  readonly apikey: string;
}

export interface BatchRequest {
  readonly credentials: HttpCredentials;
  /** Those that policies may look at. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export interface SingleRequest extends BatchRequest {
  /** As in the path, URL-encoded. */
  readonly topic: string;
  readonly event: string;
  readonly isPrivate: boolean;
  readonly contentType: string;
}

export interface HttpAnswer {
  readonly status: 202 | 400 | 401 | 403 | 413 | 415 | 422 | 429 | 500;
  /** Sent as JSON; none for 202. */
  readonly body?: object;
}

const accepted: HttpAnswer = { status: 202 };
const unauthorized = { message: "Unauthorized" };
const badJson: HttpAnswer = { status: 400, body: { message: "The body is not JSON" } };
const unsupported: HttpAnswer = {
  status: 415,
  body: { error: "Unsupported Media Type. Use application/json or application/octet-stream" },
};

const askedAtOnce = 4;

/** Broadcasts without a socket: what the two HTTP endpoints do and answer (protocol.md 6.1, 6.2). */
export class HttpBroadcast {
  readonly #options: HttpBroadcastOptions;

  constructor(options: HttpBroadcastOptions) {
    this.#options = options;
  }

  /** What every answer tells of the rate; nothing without a limit. */
  rateHeaders(): readonly (readonly [name: string, value: string])[] {
    const { limits } = this.#options;
    const limit = limits.max("events");
    if (limit === 0) return [];
    const rolling = Math.round(limits.total("events"));
    return [
      ["x-rate-rolling", String(rolling)],
      ["x-rate-limit", String(limit)],
      ["x-rate-limit-remaining", String(Math.max(0, limit - rolling))],
    ];
  }

  /** `POST /api/broadcast` */
  async batch({ credentials, headers, body }: BatchRequest): Promise<HttpAnswer> {
    const { broadcaster, limits } = this.#options;
    const admitted = await this.#admit(credentials);
    if (admitted.tag === "refused") return admitted.answer;
    const text = toText(body);
    if (text === undefined) return badJson;
    const request = parseBatch(text, { isTooLarge: (message) => broadcaster.isTooLarge(message) });
    if (request.tag === "malformed") return badJson;
    if (request.tag === "refused") return { status: 422, body: { errors: { messages: request.errors } } };
    const { messages } = request;
    if (limits.max("events") !== 0 && limits.total("events") + messages.length > limits.max("events")) {
      limits.exceeded("events");
      return {
        status: 429,
        body: { message: "Too many messages to broadcast, please reduce the batch size" },
      };
    }
    const writable = await this.#writable(messages, { claims: admitted.claims, headers });
    for (const message of messages.filter(({ isPrivate }) => !isPrivate)) this.#sendText(message);
    for (const message of messages.filter(({ isPrivate }) => isPrivate)) {
      if (writable.has(message.subtopic)) this.#sendText(message);
      else broadcaster.drop("denied"); // answered as if it had been sent
    }
    return accepted;
  }

  /** `POST /api/broadcast/:topic/events/:event` */
  async single({ credentials, headers, contentType, body, isPrivate, ...path }: SingleRequest): Promise<HttpAnswer> {
    const { channelRights, broadcaster } = this.#options;
    const encoding = encodingOf(contentType);
    if (encoding === undefined) return unsupported;
    const admitted = await this.#admit(credentials);
    if (admitted.tag === "refused") return admitted.answer;
    const [subtopic, event] = [decodePath(path.topic), decodePath(path.event)];
    const payload = encoding === "binary" ? body : jsonPayload(body);
    if (payload === undefined) return badJson;
    if (subtopic === undefined || event === undefined)
      return { status: 400, body: { message: "The path is not URL-encoded" } };
    if (broadcaster.isTooLarge({ payload })) {
      broadcaster.drop("payloadTooLarge");
      return { status: 422, body: { errors: { payload: ["Payload size exceeds tenant limit"] } } };
    }
    if (isPrivate) {
      const { broadcast } = await channelRights({ subtopic, claims: admitted.claims, headers });
      if (!broadcast.write) {
        broadcaster.drop("denied");
        return { status: 403, body: unauthorized };
      }
    }
    this.#send({ subtopic, isPrivate }, { tag: "event", event, encoding, payload });
    return accepted;
  }

  async #admit({ authorization, apikey }: HttpCredentials): Promise<Admitted> {
    const { verifyToken, limits } = this.#options;
    // The peer looks twice and has another text for "above"; the second look sees the same, so nobody ever meets that text.
    if (limits.isOver("events")) {
      limits.exceeded("events");
      return { tag: "refused", answer: { status: 429, body: { message: "Too many requests" } } };
    }
    if (verifyToken === undefined) return { tag: "admitted", claims: undefined };
    // An empty header counts as absent (protocol.md 6.1).
    const token = authorization === "" ? apikey : /^bearer\s+(.*)$/iu.exec(authorization)?.[1];
    const verdict = await verifyToken(token ?? "");
    if (verdict.tag === "valid") return { tag: "admitted", claims: verdict.claims };
    return { tag: "refused", answer: { status: 401, body: unauthorized } };
  }

  /** The private topics that may be written to; each is asked about once. */
  async #writable(
    messages: readonly BatchMessage[],
    sender: Omit<RightsRequest, "subtopic">,
  ): Promise<ReadonlySet<string>> {
    const asked = [...new Set(messages.filter(({ isPrivate }) => isPrivate).map(({ subtopic }) => subtopic))];
    const writable = new Set<string>();
    const ask = async (subtopic: string): Promise<void> => {
      const { broadcast } = await this.#options.channelRights({ ...sender, subtopic });
      if (broadcast.write) writable.add(subtopic);
    };
    // A few at a time: those who join meanwhile wait in the same queue.
    while (asked.length > 0) await Promise.all(asked.splice(0, askedAtOnce).map(ask));
    return writable;
  }

  #sendText(message: BatchMessage): void {
    const { event, payload, id } = message;
    const meta = id === undefined ? "" : `,"meta":{"id":${JSON.stringify(id)}}`;
    const text = `{"event":${JSON.stringify(event)},"payload":${payload},"type":"broadcast"${meta}}`;
    this.#send(message, { tag: "verbatim", payload: text });
  }

  #send({ subtopic, isPrivate }: { subtopic: string; isPrivate: boolean }, broadcast: Broadcast): void {
    const { metrics, broadcaster, limits } = this.#options;
    metrics.broadcastsReceived.inc({ origin: "http" });
    limits.count("events");
    broadcaster.send({ topic: `${topicPrefix}${subtopic}`, isPrivate }, broadcast);
  }
}

type Admitted =
  | { readonly tag: "admitted"; readonly claims: Claims | undefined }
  | { readonly tag: "refused"; readonly answer: HttpAnswer };

/** Without a type the body is taken for JSON (protocol.md 6.2). */
function encodingOf(contentType: string): "json" | "binary" | undefined {
  switch (contentType.split(";")[0]?.trim().toLowerCase()) {
    case "":
    case "application/json":
      return "json";
    case "application/octet-stream":
      return "binary";
    default:
      return undefined;
  }
}

/** A body that is no object arrives as `{"_json":…}`, none as `{}` (protocol.md 6.2). */
function jsonPayload(body: Uint8Array): Uint8Array | undefined {
  const text = toText(body);
  if (text === undefined) return undefined;
  if (text.trim() === "") return toBytes("{}");
  const value = parseJson(text);
  if (value === undefined) return undefined;
  return isObject(value) ? body : toBytes(`{"_json":${text}}`);
}

function decodePath(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}
