import { shutdownReason, type Claims } from "@walcast/authz";
import {
  CloseCode,
  isObject,
  parseJoin,
  serverDisconnect,
  shutdown,
  topicPrefix,
  type ClientFrame,
  type JoinRequest,
  type Serializer,
  type SystemMessage,
} from "@walcast/protocol";
import { describeError, type Logger } from "@walcast/telemetry";
import type { Admission, Decision } from "./admission.ts";
import { identify, legacyRequest, type IdentifiedRequest } from "./binding.ts";
import type { Broadcaster } from "./broadcaster.ts";
import { addressing, type Channel } from "./channel.ts";
import { allRights, type Rights } from "./channel-rights.ts";
import type { Group, Groups } from "./group.ts";
import { Member, type MemberSocket } from "./member.ts";
import type { GatewayMetrics } from "./metrics.ts";
import type { Subscriber, SubscribingConnection } from "./subscriber.ts";

/** The socket as a connection sees it. Nothing may be called after it was closed. */
export interface ClientSocket extends MemberSocket {
  send(frame: string): void;
  end(code: number, reason: string): void;
}

export interface ConnectionOptions {
  readonly socket: ClientSocket;
  readonly serializer: Serializer;
  /** The token the connection was opened with. */
  readonly token: string;
  readonly admission: Admission;
  readonly groups: Groups;
  readonly subscriber: Subscriber;
  readonly broadcaster: Broadcaster;
  readonly metrics: GatewayMetrics;
  readonly log: Logger;
  readonly now?: () => number;
}

/** What may wait behind a join whose token is being verified: frames, and characters or bytes of them. */
const backlogLimit = { frames: 1_000, size: 16 * 1024 * 1024 };
/** A token is looked at again after this long at the latest (protocol.md 4.9). */
const recheckMs = 5 * 60_000;

interface Join {
  readonly topic: string;
  readonly ref: unknown;
  readonly joinRef: unknown;
  readonly request: JoinRequest;
  readonly claims: Claims | undefined;
  readonly rights: Rights;
}

/**
 * One client: takes its frames one after the other (a join blocks those behind it, protocol.md 8.2) and keeps its channels.
 * Whatever a client sends costs nobody else anything: a frame that is no frame is dropped, the connection stays open.
 */
export class Connection implements SubscribingConnection {
  readonly serializer: Serializer;
  readonly #options: ConnectionOptions;
  readonly #channels = new Map<string, Channel>();
  #backlog: ClientFrame[] = [];
  #backlogSize = 0;
  #isBusy = false;
  #isClosed = false;
  /** By the monotonic clock. */
  lastHeardMs = performance.now();

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.serializer = options.serializer;
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
    this.#backlog = [];
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
    const { topic, joinRef } = channel;
    this.#send(this.serializer.push({ topic, joinRef, event: "system", payload: message }));
  }

  /** Tells every channel that receives changes. */
  systemToSubscribed(message: (topic: string) => SystemMessage): void {
    for (const channel of this.#channels.values()) {
      if (channel.group !== undefined) this.system(channel, message(channel.topic));
    }
  }

  enter(channel: Channel, group: Group): void {
    channel.group = group;
    this.#options.socket.subscribe(group.name);
  }

  #now = (): number => (this.#options.now ?? Date.now)();

  #send(frame: string): void {
    if (!this.#isClosed) this.#options.socket.send(frame);
  }

  #receive(frame: ClientFrame | undefined, size: number): void {
    this.lastHeardMs = performance.now();
    if (frame === undefined) {
      this.#options.metrics.malformedFrames.inc();
      this.#options.log.debug({ vsn: this.serializer.vsn }, "malformed frame dropped");
      return;
    }
    if (!this.#isBusy) return this.#take(frame);
    this.#backlogSize += size;
    if (this.#backlog.length >= backlogLimit.frames || this.#backlogSize > backlogLimit.size) {
      return this.end(CloseCode.Policy, "too many frames at once");
    }
    this.#backlog.push(frame);
  }

  #take(frame: ClientFrame): void {
    const waiting = this.#handle(frame);
    if (waiting === undefined) return;
    this.#isBusy = true;
    waiting
      .catch((error: unknown) => this.#options.log.error(describeError(error), "handling a frame failed"))
      .finally(() => {
        this.#isBusy = false;
        while (!this.#isBusy && !this.#isClosed) {
          const next = this.#backlog.shift();
          if (next === undefined) {
            this.#backlogSize = 0;
            return;
          }
          this.#take(next);
        }
      });
  }

  /** A promise when frames behind this one have to wait for it. */
  #handle(frame: ClientFrame): Promise<void> | undefined {
    const { topic, event, ref } = frame;
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
    } else if (event === "broadcast") {
      this.#broadcast(channel, frame);
    } else if (event === "access_token") {
      return this.#refreshToken(channel, frame.payload);
    }
    return undefined; // unknown events are ignored (protocol.md 8.1)
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
      if (this.#isClosed) return;
      // The former channel of the topic ends even when the new join is refused (protocol.md 8.1).
      if (former !== undefined) this.#channels.delete(topic);
      let start: (() => void) | undefined;
      if (decision.tag === "refused") this.#refuse(frame, decision.reason);
      else start = this.#open({ ...decision, topic, ref, joinRef, request });
      if (former !== undefined) this.#end(former, former.dialect === "legacy" ? undefined : "phx_close");
      start?.();
    };
    const decision = this.#options.admission.join({ topic, isPrivate, token: request.token ?? this.#options.token });
    if (decision instanceof Promise) return decision.then(settle);
    settle(decision);
    return undefined;
  }

  /** Makes the channel and answers its join; the returned function starts what the channel asked for. */
  #open({ topic, ref, joinRef, request, claims, rights }: Join): () => void {
    const channel: Channel = {
      topic,
      joinRef,
      dialect: request.tag,
      group: undefined,
      member: request.tag === "current" ? this.#member(topic, request, rights) : undefined,
      ended: new AbortController(),
      expiry: undefined,
    };
    this.#channels.set(topic, channel);
    this.#options.metrics.channels.inc();
    if (claims !== undefined) this.#watchExpiry(channel, claims);
    let requests: readonly IdentifiedRequest[];
    if (request.tag === "legacy") {
      const { identified, replyEntry } = legacyRequest(topic);
      requests = [identified];
      this.#reply({ topic, ref, joinRef }, "ok", { postgres_changes: [replyEntry] });
    } else {
      requests = identify(request.postgresChanges);
      // Each entry goes back as it came, plus its id: clients compare (protocol.md 4.3).
      const entries = requests.map(({ id, request: given }) => ({ ...given, id }));
      this.#reply({ topic, ref, joinRef }, "ok", { postgres_changes: entries });
    }
    return () => {
      // Not before: the former channel of the topic unsubscribes the same socket from the same native topic.
      channel.member?.begin();
      if (requests.length === 0) return;
      this.#options.subscriber.subscribe(this, channel, requests).catch((error: unknown) => {
        this.#options.log.error({ topic, ...describeError(error) }, "subscribing failed");
        this.#shutdown(channel, "Realtime was unable to subscribe to the changes of this channel");
      });
    };
  }

  #member(topic: string, request: JoinRequest & { tag: "current" }, rights: Rights): Member {
    const { socket, broadcaster } = this.#options;
    const { isPrivate, broadcast: wants } = request;
    return new Member({
      address: { topic, isPrivate },
      wants,
      rights,
      serializer: this.serializer,
      socket,
      broadcaster,
    });
  }

  #broadcast(channel: Channel, { ref, broadcast }: ClientFrame): void {
    this.#options.metrics.broadcastsReceived.inc({ origin: "websocket" });
    const answer = channel.member?.push(broadcast);
    const { topic, joinRef } = channel;
    if (answer !== undefined) this.#reply({ topic, ref, joinRef }, answer.status, answer.response);
  }

  #refuse({ topic, ref, joinRef }: ClientFrame, reason: string): void {
    this.#options.metrics.refusals.inc({ reason: reason.split(":")[0] ?? "" });
    this.#reply({ topic, ref, joinRef }, "error", { reason });
  }

  #leave(channel: Channel | undefined, { topic, ref, joinRef }: ClientFrame): void {
    if (channel !== undefined && addressing(channel, joinRef) === "stale") return;
    this.#reply({ topic, ref, joinRef: joinRef ?? null }, "ok", {});
    if (channel !== undefined) this.#end(channel, "phx_close");
  }

  /** Never answered; absent, unchanged and opaque tokens are ignored (protocol.md 4.9). */
  async #refreshToken(channel: Channel, payload: unknown): Promise<void> {
    const token = isObject(payload) ? payload["access_token"] : undefined;
    if (typeof token !== "string" || token.startsWith("sb_")) return;
    const { topic, member } = channel;
    const { isPrivate, rights: former } = member ?? { isPrivate: false, rights: allRights };
    const decision = await this.#options.admission.refresh({ topic, isPrivate, token, former });
    if (decision === undefined || channel.ended.signal.aborted) return;
    if (decision.tag === "granted") {
      member?.regrant(decision.rights);
      if (decision.claims !== undefined) this.#watchExpiry(channel, decision.claims);
    } else if (channel.dialect === "legacy") this.#end(channel, "phx_error"); // 1.x clients come back with a new token
    else this.#shutdown(channel, decision.reason);
  }

  #watchExpiry(channel: Channel, claims: Claims): void {
    clearTimeout(channel.expiry);
    const leftMs = claims.exp * 1000 - this.#now();
    channel.expiry = setTimeout(
      () => {
        const lateMs = this.#now() - claims.exp * 1000;
        if (lateMs < 0) return this.#watchExpiry(channel, claims);
        if (channel.dialect === "legacy") return this.#end(channel, "phx_error");
        return this.#shutdown(channel, shutdownReason({ tag: "expired", secondsAgo: Math.round(lateMs / 1000) }));
      },
      Math.max(0, Math.min(recheckMs, leftMs)),
    );
  }

  /** The server ends the channel and says why; the client does not come back by itself (protocol.md 4.10). */
  #shutdown(channel: Channel, reason: string): void {
    if (channel.ended.signal.aborted) return;
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
    clearTimeout(channel.expiry);
    if (this.#channels.get(channel.topic) === channel) this.#channels.delete(channel.topic);
    this.#options.metrics.channels.dec();
    channel.member?.leave({ isOpen: !this.#isClosed });
    if (channel.group === undefined) return;
    if (!this.#isClosed) this.#options.socket.unsubscribe(channel.group.name);
    this.#options.groups.leave(channel.group);
    channel.group = undefined;
  }

  #reply(to: { topic: string; ref: unknown; joinRef: unknown }, status: "ok" | "error", response: unknown): void {
    this.#send(this.serializer.reply({ ...to, status, response }));
  }
}
