import { shutdownReason } from "@walcast/authz";
import {
  CloseCode,
  isObject,
  parseJoin,
  serverDisconnect,
  shutdown,
  subscribeFailed,
  topicPrefix,
  type ClientFrame,
  type Serializer,
  type SystemMessage,
} from "@walcast/protocol";
import { describeError, type Logger } from "@walcast/telemetry";
import type { Admission, Decision } from "./admission.ts";
import type { ConnectionPlaces } from "./connection-places.ts";
import type { ClientSocket } from "./client-socket.ts";
import { addressing, beginMembers, type Channel } from "./channel.ts";
import { allRights } from "./channel-rights.ts";
import { FrameQueue } from "./frame-queue.ts";
import { joinRefusedBy } from "./join-limit.ts";
import { additionRefusal, requested, type Join } from "./join-request.ts";
import { membersOf, type MembersParts } from "./channel-members.ts";
import { heldJoin, type HeldJoin } from "./held-join.ts";
import type { GatewayMetrics } from "./metrics.ts";
import { orAbandon } from "./replay.ts";
import type { Subscriber, SubscribingConnection } from "./subscriber.ts";
import { TokenExpiry } from "./token-expiry.ts";

export interface ConnectionOptions extends MembersParts {
  readonly socket: ClientSocket;
  /** The token the connection was opened with. */
  readonly token: string;
  /** The `x-*` headers it was opened with. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly admission: Admission;
  readonly subscriber: Subscriber;
  readonly places?: ConnectionPlaces | undefined;
  readonly metrics: GatewayMetrics;
  readonly log: Logger;
  readonly now?: () => number;
}

/**
 * One client: takes its frames one after the other (a join blocks those behind it, protocol.md 8.2) and keeps its channels.
 * Whatever a client sends costs nobody else anything: a frame that is no frame is dropped, the connection stays open.
 */
export class Connection implements SubscribingConnection {
  readonly serializer: Serializer;
  /** For a client that has a resume id. */
  readonly places: ConnectionPlaces | undefined;
  readonly #options: ConnectionOptions;
  readonly #channels = new Map<string, Channel>();
  readonly #frames: FrameQueue;
  #isUser = false;
  #isClosed = false;
  /** By the monotonic clock. */
  lastHeardMs = performance.now();
  /** Since when it has no channel any more, by the same clock; `undefined` while it has one, and before it had one. */
  channellessSinceMs: number | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.serializer = options.serializer;
    this.places = options.places;
    this.#frames = new FrameQueue({
      handle: (frame) => this.#handle(frame),
      onError: (error) => {
        // JSON may be nested so deep that it can be read and not written.
        if (error instanceof RangeError) this.#dropMalformed();
        else options.log.error(describeError(error), "handling a frame failed");
      },
      onOverflow: () => this.end(CloseCode.Policy, "too many frames at once"),
    });
  }

  /** One text frame from the client. */
  receive(text: string): void {
    this.#receive(this.serializer.decode(text), text.length);
  }

  /** One binary frame from the client; the bytes are kept. */
  receiveBinary(bytes: Uint8Array): void {
    this.#receive(this.serializer.decodeBinary(bytes), bytes.length);
  }

  /** The socket is gone, by whoever's will. */
  closed(): void {
    this.#isClosed = true;
    this.#frames.close();
    this.places?.close();
    this.#channels.forEach((channel) => this.#remove(channel));
  }

  end(code: number, reason: string): void {
    if (!this.#isClosed) this.#options.socket.end(code, reason);
  }

  /** The server goes away: each channel is told, then the socket is closed (protocol.md 1.6). */
  drain(): void {
    for (const { topic } of this.#channels.values()) {
      this.#send(this.serializer.push({ topic, joinRef: null, event: "system", payload: serverDisconnect }));
    }
    this.end(CloseCode.Restart, "server restarts");
  }

  system(channel: Channel, message: SystemMessage): void {
    this.tell(channel, "system", message);
  }

  tell({ topic, joinRef }: Channel, event: string, payload: object): void {
    this.#send(this.serializer.push({ topic, joinRef, event, payload }));
  }

  /** Tells every channel that receives changes, but for those whose rows are read again. */
  systemToSubscribed(message: (topic: string) => SystemMessage): void {
    for (const channel of this.#channels.values()) {
      if (channel.membership?.renewRows() === false) this.system(channel, message(channel.topic));
    }
  }

  topics = (): Iterable<string> => this.#channels.keys();

  get headers(): Readonly<Record<string, string>> | undefined {
    return this.#options.headers;
  }

  hear(name: string): void {
    if (!this.#isClosed) this.#options.socket.subscribe(name);
  }

  unhear(name: string): void {
    if (!this.#isClosed) this.#options.socket.unsubscribe(name);
  }

  /** Says why, and ends the channel in the way after which clients join again. */
  fail(channel: Channel, reason: string): void {
    if (channel.ended.signal.aborted) return;
    this.system(channel, subscribeFailed(channel.topic, reason));
    this.#end(channel, "phx_error");
  }

  sendAll(frames: readonly Uint8Array[]): void {
    if (!this.#isClosed) this.#options.socket.sendAll(frames);
  }

  unsentBytes(): number {
    return this.#isClosed ? 0 : this.#options.socket.unsentBytes();
  }

  #now = (): number => (this.#options.now ?? Date.now)();

  #send(frame: string | Uint8Array): void {
    if (!this.#isClosed) this.#options.socket.send(frame);
  }

  #receive(frame: ClientFrame | undefined, size: number): void {
    this.lastHeardMs = performance.now();
    if (frame === undefined) this.#dropMalformed();
    else this.#frames.add(frame, size);
  }

  #dropMalformed(): void {
    this.#options.metrics.malformedFrames.inc();
    this.#options.log.debug({ vsn: this.serializer.vsn }, "malformed frame dropped");
  }

  /** A promise when frames behind this one have to wait for it. */
  #handle(frame: ClientFrame): Promise<void> | undefined {
    const { topic, event, ref } = frame;
    // In its turn, as the peer does it (protocol.md 8.2): a client whose join is stuck notices by it.
    if (topic === "phoenix" && event === "heartbeat") {
      this.#reply({ topic, ref, joinRef: null }, "ok", {});
      return undefined;
    }
    if (event === "phx_join") return this.#join(frame);
    const channel = this.#channels.get(topic);
    if (event === "phx_leave") {
      this.#leave(channel, frame);
    } else if (channel === undefined) {
      this.#reply({ topic, ref, joinRef: null }, "error", { reason: "unmatched topic" });
    } else if (event === "access_token") {
      return this.#refreshToken(channel, frame.payload);
    } else if (event === "presence") {
      this.#presence(channel, frame);
    } else if (this.#options.limits.isOver("events")) {
      this.#shutdown(channel, this.#options.limits.exceeded("events"));
    } else {
      this.#options.limits.count("events");
      if (event === "broadcast") this.#broadcast(channel, frame); // others are ignored (protocol.md 8.1)
    }
    return undefined;
  }

  #join(frame: ClientFrame): Promise<void> | undefined {
    const { topic, ref, joinRef } = frame;
    if (!topic.startsWith(topicPrefix)) {
      this.#refuse(frame, "unmatched topic");
      return undefined;
    }
    const request = parseJoin(frame.payload);
    const former = this.#channels.get(topic);
    const isPrivate = request.tag === "current" && request.isPrivate;
    const settle = (decision: Decision): void => {
      if (this.#isClosed) return decision.tag === "granted" ? decision.replay?.abandon() : undefined;
      let start: (() => void) | undefined;
      if (decision.tag === "refused") this.#refuse(frame, decision.reason);
      else start = orAbandon(decision.replay, () => this.#open({ ...decision, topic, ref, joinRef, request }));
      // The former channel of the topic ends even when the new join is refused (protocol.md 8.1).
      if (former !== undefined) this.#end(former, former.dialect === "legacy" ? undefined : "phx_close");
      start?.();
    };
    const { limits, admission } = this.#options;
    const refusal =
      additionRefusal(request) ??
      this.#options.subscriber.refusal(request) ??
      joinRefusedBy(limits, { channels: this.#channels.size, isRejoin: former !== undefined });
    if (refusal !== undefined) {
      settle({ tag: "refused", reason: refusal.reason });
      if (refusal.limit === "joins") this.end(CloseCode.GoingAway, "too many joins per second");
      return undefined;
    }
    limits.count("joins");
    const { headers, token: connectionToken } = this.#options;
    const replay = request.tag === "current" ? { replay: request.broadcast.replay } : {};
    const decision = admission.join({ topic, isPrivate, token: request.token ?? connectionToken, headers, ...replay });
    if (decision instanceof Promise) return decision.then(settle);
    settle(decision);
    return undefined;
  }

  /** Makes the channel and answers its join, unless that waits; the returned function starts what the channel asked for. */
  #open(join: Join): () => void {
    const { topic, ref, joinRef, request, claims } = join;
    const { requests, entries } = requested(topic, request);
    // Written before anything changes, because what is nested too deep cannot be written.
    const reply = this.serializer.reply({ topic, ref, joinRef, status: "ok", response: { postgres_changes: entries } });
    const channel: Channel = {
      topic,
      joinRef,
      dialect: request.tag,
      hasMeta: request.hasMeta,
      snapshot: request.snapshot.tag === "asked" ? request.snapshot : undefined,
      resumeFrom: request.resume.tag === "from" ? request.resume.position : undefined,
      isExplained: request.tag === "current" && request.isExplained,
      claims,
      token: request.token ?? this.#options.token,
      membership: undefined,
      ...membersOf(
        { ...join, send: (frame) => this.#send(frame), end: (reason) => this.#shutdown(channel, reason) },
        this.#options,
      ),
      ended: new AbortController(),
      expiry: new TokenExpiry({
        now: this.#now,
        toleranceMs: this.#options.rules.clockToleranceMs,
        onExpired: (secondsAgo) => this.#expired(channel, secondsAgo),
      }),
      held: this.#hold(join, reply, () => channel),
    };
    this.#channels.set(topic, channel);
    this.#options.metrics.channels.inc();
    this.#countUser();
    if (claims !== undefined) channel.expiry.watch(claims);
    if (channel.held === undefined) this.#send(reply);
    return () => {
      // Not before: the former channel of the topic unsubscribes the same socket from the same native topic.
      if (channel.held === undefined) beginMembers(channel);
      if (requests.length === 0) return;
      this.#options.subscriber.subscribe(this, channel, requests).catch((error: unknown) => {
        this.#options.log.error({ topic, ...describeError(error) }, "subscribing failed");
        this.#shutdown(channel, "Realtime was unable to subscribe to the changes of this channel");
      });
    };
  }

  /** Apart, so that no other channel keeps its join and the answer for as long as it lasts. */
  #hold(join: Join, reply: string, channelOf: () => Channel): HeldJoin | undefined {
    return heldJoin(join.request, {
      onLive: () => {
        this.#send(reply);
        beginMembers(channelOf());
      },
      onRefused: (reason) => {
        this.#remove(channelOf());
        this.#refuse(join, reason);
      },
    });
  }

  /** Always answered, also where there is no presence to take part in (protocol.md 4.5). */
  #presence(channel: Channel, { ref, presence }: ClientFrame): void {
    const answer = channel.presence?.push(presence ?? { tag: "unknown" });
    const { topic, joinRef } = channel;
    if (answer === undefined) this.#reply({ topic, ref, joinRef }, "error", {});
    else if (answer.tag === "reply") this.#reply({ topic, ref, joinRef }, answer.status, answer.response);
    else this.#shutdown(channel, answer.reason);
  }

  #broadcast(channel: Channel, { ref, broadcast }: ClientFrame): void {
    this.#options.metrics.broadcastsReceived.inc({ origin: "websocket" });
    const answer = channel.member?.push(broadcast);
    const { topic, joinRef } = channel;
    if (answer !== undefined) this.#reply({ topic, ref, joinRef }, answer.status, answer.response);
  }

  #refuse({ topic, ref, joinRef }: Pick<Join, "topic" | "ref" | "joinRef">, reason: string): void {
    this.#options.metrics.refusals.inc({ reason: reason.split(":")[0] ?? "" });
    const answer = (): void => this.#reply({ topic, ref, joinRef }, "error", { reason });
    const { errorBackoffMs } = this.#options.rules;
    // The peer's wait blocks all other frames of the socket (protocol.md 4.2); ours blocks nothing.
    if (errorBackoffMs === 0) answer();
    else setTimeout(answer, errorBackoffMs).unref();
  }

  #leave(channel: Channel | undefined, { topic, ref, joinRef }: ClientFrame): void {
    if (channel !== undefined && addressing(channel, joinRef) === "stale") return;
    this.#reply({ topic, ref, joinRef: joinRef ?? null }, "ok", {});
    if (channel === undefined) return;
    this.places?.left(channel);
    // realtime-js 1.3.3 would take it for the end of the channel that it joins next on the topic.
    const isNameless = channel.dialect === "legacy" && (channel.joinRef === undefined || channel.joinRef === null);
    this.#end(channel, isNameless ? undefined : "phx_close");
  }

  /** Never answered; absent, unchanged and opaque tokens are ignored (protocol.md 4.9). */
  async #refreshToken(channel: Channel, payload: unknown): Promise<void> {
    const token = isObject(payload) ? payload["access_token"] : undefined;
    if (typeof token !== "string" || token.startsWith("sb_") || token === channel.token) return;
    const { topic, member } = channel;
    const { isPrivate, rights: former } = member ?? { isPrivate: false, rights: allRights };
    const decision = await this.#options.admission.refresh({
      topic,
      isPrivate,
      token,
      former,
      headers: this.headers,
      replay: member?.pendingReplay,
    });
    if (decision === undefined || channel.ended.signal.aborted) return;
    if (decision.tag === "granted") {
      channel.token = token;
      member?.regrant(decision.rights);
      channel.presence?.regrant(decision.rights);
      if (decision.claims === undefined) return;
      channel.expiry.watch(decision.claims);
      this.#options.subscriber.reauthorise(this, channel, decision.claims);
    } else if (channel.dialect === "legacy") this.#end(channel, "phx_error"); // 1.x clients come back with a new token
    else this.#shutdown(channel, decision.reason);
  }

  #expired(channel: Channel, secondsAgo: number): void {
    if (channel.dialect === "legacy") this.#end(channel, "phx_error");
    else this.#shutdown(channel, shutdownReason({ tag: "expired", secondsAgo }));
  }

  /** The server ends the channel and says why; the client does not come back by itself (protocol.md 4.10). */
  #shutdown(channel: Channel, reason: string): void {
    if (channel.ended.signal.aborted) return;
    if (channel.held?.isWaiting === true) return channel.held.disabled(reason);
    this.system(channel, shutdown(channel.topic, reason));
    this.#end(channel, "phx_close");
  }

  #end(channel: Channel, event: "phx_close" | "phx_error" | undefined): void {
    this.#remove(channel);
    if (event !== undefined) this.#send(this.serializer.end({ topic: channel.topic, joinRef: channel.joinRef, event }));
  }

  #remove(channel: Channel): void {
    if (channel.ended.signal.aborted) return;
    channel.ended.abort();
    this.places?.ended(channel);
    channel.expiry.stop();
    channel.held?.end();
    if (this.#channels.get(channel.topic) === channel) this.#channels.delete(channel.topic);
    this.#options.metrics.channels.dec();
    this.#countUser();
    channel.member?.leave({ isOpen: !this.#isClosed });
    channel.presence?.leave({ isOpen: !this.#isClosed });
    channel.membership?.end();
  }

  /** A connection with a channel is a user (protocol.md 4.11). */
  #countUser(): void {
    const isUser = this.#channels.size > 0;
    if (isUser === this.#isUser) return;
    this.#isUser = isUser;
    this.channellessSinceMs = isUser ? undefined : performance.now();
    this.#options.limits.countUser(isUser ? 1 : -1);
  }

  #reply(to: { topic: string; ref: unknown; joinRef: unknown }, status: "ok" | "error", response: unknown): void {
    this.#send(this.serializer.reply({ ...to, status, response }));
  }
}
