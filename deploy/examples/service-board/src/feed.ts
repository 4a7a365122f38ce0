import { EventEmitter } from "node:events";
import { RealtimeClient, type RealtimeSubscription } from "@supabase/realtime-js";
import { readChange } from "./change-payload.ts";
import { errorMessage, UpstreamError } from "./errors.ts";
import { explainRefusal } from "./upgrade-probe.ts";
import { isListed, LISTS, type ServiceChange } from "./service.ts";

export interface FeedOptions {
  readonly url: string;
  readonly apiKey: string | undefined;
}

interface FeedEvents {
  /** Every topic delivers from here on: what is read from the table now misses nothing. */
  subscribed: [];
  change: [ServiceChange];
  /** Changes may have been missed although the connection stands: read the table again. */
  stale: [];
  /** This feed is over; open another. */
  lost: [UpstreamError];
}

/** A busy server may take seconds for the first subscription on a database. */
const SUBSCRIBE_TIMEOUT_MS = 20_000;
const TABLE_TOPIC = "realtime:public:service";

const retrying = "this server tries again; if it keeps failing, see the log of the realtime server";
const describe = (value: unknown): string => (typeof value === "string" ? value : (JSON.stringify(value) ?? "unknown"));

/**
 * One connection to the realtime server, from its first join to its loss, with one topic per list:
 *
 *     realtime:public:service:status_id=eq.<id>
 *
 * A filter is matched against the new row of an UPDATE, so a service that goes from 1 to 2 is reported on `=eq.2`
 * alone; a DELETE is matched against the old row. A row that gets a status without a list is on none of these topics,
 * nor is a TRUNCATE: for those two there is the topic of the whole table.
 *
 * After a loss this opens no second connection by itself, and it does not let the client do so either: in realtime-js
 * 1.3.3 a join that was under way when its connection broke is sent again without a reference, its answer is matched to
 * nothing, and the channel stays "joining" for ever; besides, its delay between attempts never grows. A fresh client
 * per connection has neither problem, and one rule remains: new feed, new read of the table.
 */
export class Feed {
  readonly events = new EventEmitter<FeedEvents>();
  readonly #client: RealtimeClient;
  readonly #channels: RealtimeSubscription[];
  readonly #unconfirmed = new Set<string>();
  readonly #deadline: NodeJS.Timeout;
  #wasOpen = false;
  #isOver = false;

  constructor({ url, apiKey }: FeedOptions) {
    this.#client = new RealtimeClient(url, {
      params: apiKey === undefined ? {} : { apikey: apiKey },
      // A connection that died silently is noticed after two of these.
      heartbeatIntervalMs: 10_000,
    });
    this.#channels = [
      ...LISTS.map(({ statusId }) => this.#listChannel(`${TABLE_TOPIC}:status_id=eq.${statusId}`)),
      this.#tableChannel(),
    ];
    // Joining only once the socket is open: an earlier join would wait in the client and time out there.
    this.#client.onOpen(() => {
      this.#wasOpen = true;
      for (const channel of this.#channels) this.#join(channel);
    });
    this.#client.onClose((event: { code?: number; reason?: string }) => this.#closed(event));
    this.#deadline = setTimeout(() => this.#unanswered(), SUBSCRIBE_TIMEOUT_MS);
    this.#client.connect();
  }

  /** Stops the client with all its timers, its own attempts to come back included. */
  async close(): Promise<void> {
    this.#isOver = true;
    clearTimeout(this.#deadline);
    for (const channel of this.#channels) {
      channel.rejoinTimer.reset();
      channel.joinPush.destroy();
    }
    this.#client.channels = [];
    await this.#client.disconnect();
  }

  #listChannel(topic: string): RealtimeSubscription {
    const channel = this.#channel(topic);
    for (const event of ["INSERT", "UPDATE", "DELETE"]) {
      channel.on(event, (payload: unknown) => this.#changed(payload));
    }
    return channel;
  }

  #tableChannel(): RealtimeSubscription {
    const channel = this.#channel(TABLE_TOPIC);
    const isForNoList = (change: ServiceChange): boolean =>
      change.tag !== "written" || !isListed(change.service.statusId);
    channel.on("UPDATE", (payload: unknown) => this.#changed(payload, isForNoList));
    // With row security a deleted row shows its key only, which no filter on the status can match.
    channel.on("DELETE", (payload: unknown) => this.#changed(payload));
    channel.on("TRUNCATE", (payload: unknown) => this.#changed(payload));
    return channel;
  }

  #channel(topic: string): RealtimeSubscription {
    const channel = this.#client.channel(topic);
    this.#unconfirmed.add(topic);
    channel.on("system", (payload: { extension?: string; status?: string; message?: string }) => {
      const { extension, status, message } = payload;
      // Refused parameters, a token that expired, or changes the server itself has lost: in each case, start again.
      if (status === "error") this.#lose(`realtime reports for ${topic}: ${describe(message)}`, retrying);
      else if (extension === "postgres_changes") this.#confirmed(topic);
    });
    channel.onError((reason: unknown) => {
      // Without a reason it is the whole connection that failed, which onClose reports.
      if (reason !== undefined) this.#lose(`realtime ended ${topic}: ${describe(reason)}`, retrying);
    });
    channel.onClose(() => this.#lose(`realtime closed ${topic}`, retrying));
    return channel;
  }

  #join(channel: RealtimeSubscription): void {
    const { topic } = channel;
    channel
      .subscribe()
      .receive("ok", (response: { postgres_changes?: unknown[] } | undefined) => {
        // Servers that answer with the list of subscriptions have only noted them: they deliver from the system
        // message "Subscribed to PostgreSQL" on. Older servers deliver from this reply on, and say no more.
        if ((response?.postgres_changes ?? []).length === 0) this.#confirmed(topic);
      })
      .receive("error", (response: { reason?: string } | undefined) => {
        this.#lose(`realtime refused ${topic}: ${describe(response?.reason)}`, "set REALTIME_APIKEY to a valid token");
      })
      .receive("timeout", () => this.#lose(`realtime did not answer the join of ${topic}`, retrying));
  }

  #confirmed(topic: string): void {
    if (this.#isOver) return;
    if (!this.#unconfirmed.delete(topic)) {
      // The server subscribed a second time: its own connection to PostgreSQL was interrupted.
      this.events.emit("stale");
    } else if (this.#unconfirmed.size === 0) {
      clearTimeout(this.#deadline);
      this.events.emit("subscribed");
    }
  }

  #changed(payload: unknown, isWanted: (change: ServiceChange) => boolean = () => true): void {
    if (this.#isOver) return;
    let change: ServiceChange;
    try {
      change = readChange(payload);
    } catch (error) {
      this.#lose(`a change cannot be read: ${errorMessage(error)}`, "let the role of the token SELECT public.service");
      return;
    }
    if (!isWanted(change)) return;
    this.events.emit("change", change);
    // It carries no rows and no revision, so only the table knows what is in it now.
    if (change.tag === "truncated") this.events.emit("stale");
  }

  #unanswered(): void {
    const topics = [...this.#unconfirmed].join(", ");
    this.#lose(`realtime confirmed no subscription within ${SUBSCRIBE_TIMEOUT_MS / 1000} s for ${topics}`, retrying);
  }

  #closed({ code, reason }: { code?: number; reason?: string }): void {
    if (this.#wasOpen) {
      const why = reason === undefined || reason === "" ? `code ${code}` : `code ${code}, ${reason}`;
      this.#lose(`the connection to realtime was lost (${why})`, "none if it returns by itself; else start it again");
      return;
    }
    void explainRefusal(this.#client.endPointURL()).then((error) => this.#end(error));
  }

  #lose(message: string, remedy: string): void {
    this.#end(new UpstreamError("realtime", message, { remedy }));
  }

  #end(error: UpstreamError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.events.emit("lost", error);
  }
}
