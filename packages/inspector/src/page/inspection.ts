import { signal, type Signal } from "@preact/signals";
import {
  REALTIME_SUBSCRIBE_STATES,
  RealtimeClient,
  type RealtimeChannel,
  type WebSocketLikeConstructor,
} from "@supabase/realtime-js";
import { resumable } from "@walcast/client";
import { withFrame, type Change } from "./change-list.ts";
import { fieldsOf, type Fields, type Frame } from "./frame.ts";
import { fetchChannels, fetchSession, Refusal, type ChannelList, type Session } from "./gateway-api.ts";
import { tappedSocket } from "./tapped-socket.ts";
import { toRequest, type ChannelWish } from "./wish.ts";

/** refused: the token was looked at and not let in; away: the gateway does not answer. */
export type ConnectionState = "idle" | "connecting" | "open" | "away" | "refused";

export interface PresentMember {
  readonly key: string;
  readonly metas: readonly Fields[];
}

/** One joined topic, as it is shown. */
export interface InspectedChannel {
  readonly name: string;
  readonly topic: string;
  readonly wish: ChannelWish;
  readonly status: Signal<"joining" | "joined" | "subscribed" | "refused" | "closed">;
  /** The last thing the gateway said of it. */
  readonly message: Signal<string>;
  /** By the places of the bindings. */
  readonly bindingIds: Signal<readonly number[]>;
  readonly changes: Signal<readonly Change[]>;
  readonly counts: Signal<{ readonly delivered: number; readonly others: number; readonly skipped: number }>;
  readonly present: Signal<readonly PresentMember[]>;
  readonly isTracking: Signal<boolean>;
}

export interface InspectionOptions {
  readonly socketUrl: string;
  readonly apiUrl: string;
  /** Where the token is kept: this tab's, until it is closed. */
  readonly storage: Storage;
}

const tokenKey = "walcast-inspector-token";
const keptFrames = 300;
/** Frames are shown together so often: a flood of them must not stop the page. */
const showEveryMs = 50;

/** What the page knows: its connection, its channels, and what came over the wire. */
export class Inspection {
  readonly state = signal<ConnectionState>("idle");
  readonly problem = signal("");
  readonly session = signal<Session | undefined>(undefined);
  /** As it stands in its field. */
  readonly token: Signal<string>;
  readonly channels = signal<readonly InspectedChannel[]>([]);
  readonly selected = signal<InspectedChannel | undefined>(undefined);
  readonly frames = signal<readonly Frame[]>([]);
  readonly isPaused = signal(false);
  readonly #options: InspectionOptions;
  readonly #handles = new Map<InspectedChannel, RealtimeChannel>();
  #client: RealtimeClient | undefined;
  #usedToken: string;
  #arrived: Frame[] = [];

  constructor(options: InspectionOptions) {
    this.#options = options;
    this.#usedToken = options.storage.getItem(tokenKey) ?? "";
    this.token = signal(this.#usedToken);
  }

  /** Goes on with the present token: what was connected with another one ends. */
  useToken(): void {
    const token = this.token.value.trim();
    this.problem.value = "";
    if (token === this.#usedToken) return;
    this.#usedToken = token;
    this.#options.storage.setItem(tokenKey, token);
    void this.#client?.disconnect();
    this.#client = undefined;
    this.#handles.clear();
    this.channels.value = [];
    this.selected.value = undefined;
    this.session.value = undefined;
    this.state.value = "idle";
  }

  async join(wish: ChannelWish): Promise<void> {
    this.useToken();
    const client = await this.#connect();
    if (client === undefined) return;
    const name = wish.topic.trim();
    const former = this.channels.value.find((channel) => channel.name === name);
    if (former !== undefined) await this.leave(former);
    const channel: InspectedChannel = {
      name,
      topic: `realtime:${name}`,
      wish,
      status: signal("joining"),
      message: signal(""),
      bindingIds: signal([]),
      changes: signal([]),
      counts: signal({ delivered: 0, others: 0, skipped: 0 }),
      present: signal([]),
      isTracking: signal(false),
    };
    const handle = client.channel(name, { config: { private: wish.isPrivate } });
    for (const binding of wish.bindings) handle.on("postgres_changes", toRequest(binding), () => undefined);
    handle.on("presence", { event: "sync" }, () => {
      channel.present.value = Object.entries(handle.presenceState()).map(([key, metas]) => ({
        key,
        metas: metas as unknown as readonly Fields[],
      }));
    });
    this.#handles.set(channel, handle);
    this.channels.value = [...this.channels.value, channel];
    this.selected.value = channel;
    handle.subscribe((status, error) => {
      if (status === REALTIME_SUBSCRIBE_STATES.SUBSCRIBED) {
        if (channel.status.value !== "subscribed") channel.status.value = "joined";
      } else if (status === REALTIME_SUBSCRIBE_STATES.CLOSED) channel.status.value = "closed";
      else {
        channel.status.value = "refused";
        channel.message.value = error?.message ?? "The gateway did not answer in time";
      }
    });
  }

  /** Of the gateway's topics; throws as `fetchChannels`. */
  listGateway(): Promise<ChannelList> {
    return fetchChannels(this.#options.apiUrl, this.#usedToken);
  }

  async leave(channel: InspectedChannel): Promise<void> {
    const handle = this.#handles.get(channel);
    this.#handles.delete(channel);
    this.channels.value = this.channels.value.filter((one) => one !== channel);
    if (this.selected.value === channel) this.selected.value = this.channels.value[0];
    if (handle !== undefined) await this.#client?.removeChannel(handle);
  }

  async track(channel: InspectedChannel, state: Record<string, unknown>): Promise<void> {
    const answer = await this.#handles.get(channel)?.track(state);
    channel.isTracking.value = answer === "ok";
    channel.message.value = answer === "ok" ? "" : `The gateway did not take the presence: ${String(answer)}`;
  }

  async untrack(channel: InspectedChannel): Promise<void> {
    await this.#handles.get(channel)?.untrack();
    channel.isTracking.value = false;
  }

  clear(): void {
    this.frames.value = [];
    for (const channel of this.channels.value) {
      channel.changes.value = [];
      channel.counts.value = { delivered: 0, others: 0, skipped: 0 };
    }
  }

  /** A browser cannot see why a WebSocket is refused, so that is asked first. */
  async #connect(): Promise<RealtimeClient | undefined> {
    if (this.#client !== undefined) return this.#client;
    this.state.value = "connecting";
    const token = this.#usedToken;
    try {
      this.session.value = await fetchSession(this.#options.apiUrl, token);
    } catch (error) {
      this.state.value = error instanceof Refusal ? "refused" : "away";
      this.problem.value = error instanceof Error ? error.message : String(error);
      return undefined;
    }
    const socket = tappedSocket({
      onOpen: () => (this.state.value = "open"),
      // The client itself goes when its last channel does.
      onClose: () => {
        if (this.#client === client) this.state.value = this.channels.value.length === 0 ? "idle" : "away";
      },
      onFrame: (frame) => this.#take(frame),
    });
    const client = new RealtimeClient(this.#options.socketUrl, {
      transport: resumable({ WebSocket: socket }).transport as unknown as WebSocketLikeConstructor,
      params: { apikey: token === "" ? "inspector" : token },
    });
    this.#client = client;
    return client;
  }

  #take(frame: Frame): void {
    this.#arrived.push(frame);
    if (this.#arrived.length === 1) setTimeout(() => this.#show(), showEveryMs);
  }

  #show(): void {
    const arrived = this.#arrived;
    this.#arrived = [];
    for (const channel of this.channels.value) {
      const its = arrived.filter(({ topic, direction }) => topic === channel.topic && direction === "in");
      if (its.length > 0) takeFrames(channel, its, { isPaused: this.isPaused.value });
    }
    if (!this.isPaused.value) this.frames.value = [...arrived.toReversed(), ...this.frames.value].slice(0, keptFrames);
  }
}

function takeFrames(
  channel: InspectedChannel,
  frames: readonly Frame[],
  { isPaused }: { readonly isPaused: boolean },
): void {
  let changes = channel.changes.value;
  let { delivered, others, skipped } = channel.counts.value;
  for (const frame of frames) {
    const { event, payload } = frame;
    if (!isPaused) changes = withFrame(changes, frame);
    if (event === "postgres_changes") delivered++;
    else if (event === "explain") {
      const reports = payload["bindings"];
      if (Array.isArray(reports) && reports.every((report) => fieldsOf(report)["verdict"] !== "matched")) others++;
      skipped += Number(payload["skipped"] ?? 0);
      if (typeof payload["error"] === "string") channel.message.value = payload["error"];
    } else if (event === "system") takeSystem(channel, payload);
    else if (event === "phx_reply") takeReply(channel, payload);
  }
  channel.changes.value = changes;
  channel.counts.value = { delivered, others, skipped };
}

function takeSystem(channel: InspectedChannel, { extension, status, message }: Fields): void {
  if (extension === "postgres_changes") channel.status.value = status === "ok" ? "subscribed" : "refused";
  channel.message.value = status === "ok" ? "" : String(message);
}

function takeReply(channel: InspectedChannel, payload: Fields): void {
  const bindings = fieldsOf(payload["response"])["postgres_changes"];
  if (Array.isArray(bindings)) channel.bindingIds.value = bindings.map((one) => Number(fieldsOf(one)["id"]));
}
