import { setTimeout as sleep } from "node:timers/promises";
import { LightClient, type Tally } from "../bench/light-client.ts";
import type { Random } from "../chaos/random.ts";
import type { Ledger, Session } from "./ledger.ts";

export interface SoakClientOptions {
  readonly number: number;
  readonly room: number;
  readonly port: number;
  readonly ledger: Ledger;
  readonly tally: Tally;
  readonly random: Random;
}

type Metas = readonly { readonly phx_ref: string; readonly n: number }[];
type Entries = Readonly<Record<string, { readonly metas: Metas }>>;
type Frame = readonly [joinRef: unknown, ref: string | null, topic: string, event: string, payload: unknown];

/** One client in one room, which comes back whenever its connection ends. */
export class SoakClient {
  readonly #options: SoakClientOptions;
  readonly #topic: string;
  #socket: LightClient | undefined;
  #session: Session | undefined;
  #refs = 0;
  #connections = 0;
  #joinRef = "";
  /** Who is there, as frames tell it: metas by their refs. */
  #present = new Map<string, Map<string, number>>();
  /** What it tracks; `undefined`: nothing. */
  #tracked: number | undefined;
  #isStopped = false;

  constructor(options: SoakClientOptions) {
    this.#options = options;
    this.#topic = `realtime:soak-${options.room}`;
  }

  get room(): number {
    return this.#options.room;
  }

  get key(): string {
    return `c${this.#options.number}`;
  }

  get tracked(): number | undefined {
    return this.#tracked;
  }

  get isLive(): boolean {
    return this.#session?.liveMs !== undefined;
  }

  get session(): Session | undefined {
    return this.#session;
  }

  /** Whom it sees, with what they tracked, sorted. */
  get seen(): string {
    const all = [...this.#present].flatMap(([key, metas]) => [...metas.values()].map((n) => `${key}:${n}`));
    return all.toSorted().join();
  }

  /** Resolves when it is connected; after that it sees to it alone. */
  async connect(): Promise<void> {
    const { port, tally, random, number } = this.#options;
    while (!this.#isStopped) {
      try {
        const path = `/socket/websocket?vsn=2.0.0&apikey=soak-${number}`;
        const socket = await LightClient.open({ port, path }, tally);
        socket.onFrame = (payload) => this.#take(JSON.parse(payload.toString()) as Frame);
        socket.onClose = () => {
          this.#socket = undefined;
          this.#end();
          void this.#reconnect();
        };
        this.#socket = socket;
        this.#connections++;
        this.join();
        return;
      } catch {
        await sleep(random.between(200, 2_000)); // refused: its gateway is not there
      }
    }
  }

  join(): void {
    if (this.#socket === undefined || this.#session !== undefined) return;
    const { ledger, number, room } = this.#options;
    this.#session = ledger.begin({ client: number, room, connection: this.#connections });
    this.#present.clear();
    const config = {
      broadcast: { ack: true, self: false },
      presence: { key: this.key, enabled: true },
      postgres_changes: [{ event: "*", schema: "public", table: "soak", filter: `room=eq.${room}` }],
    };
    this.#push("phx_join", { config }, `j${++this.#refs}`);
    if (this.#tracked !== undefined) this.track(this.#tracked);
  }

  leave(): void {
    if (this.#session === undefined) return;
    this.#end();
    this.#push("phx_leave", {});
  }

  /** Cuts the connection, without a word. */
  drop(): void {
    this.#socket?.end();
  }

  track(n: number): void {
    this.#tracked = n;
    if (this.#session !== undefined) this.#push("presence", { type: "presence", event: "track", payload: { n } });
  }

  untrack(): void {
    this.#tracked = undefined;
    if (this.#session !== undefined) this.#push("presence", { type: "presence", event: "untrack" });
  }

  broadcast(): void {
    const session = this.#session;
    if (session?.liveMs === undefined) return;
    const number = this.#options.ledger.sent(session);
    this.#push("broadcast", { type: "broadcast", event: "m", payload: { number } }, `b${number}`);
  }

  heartbeat(): void {
    this.#socket?.send(JSON.stringify([null, `h${++this.#refs}`, "phoenix", "heartbeat", {}]));
  }

  stop(): void {
    this.#isStopped = true;
    this.#socket?.end();
  }

  async #reconnect(): Promise<void> {
    await sleep(this.#options.random.between(100, 2_000));
    await this.connect();
  }

  #end(): void {
    if (this.#session !== undefined) this.#session.endMs = performance.now();
    this.#session = undefined;
    this.#present.clear();
  }

  #push(event: string, payload: object, ref = `p${++this.#refs}`): void {
    if (event === "phx_join") this.#joinRef = ref;
    this.#socket?.send(JSON.stringify([this.#joinRef, ref, this.#topic, event, payload]));
  }

  #take([joinRef, ref, topic, event, payload]: Frame): void {
    const { ledger, number } = this.#options;
    const session = this.#session;
    if (topic !== this.#topic || session === undefined) return;
    if (joinRef !== null && joinRef !== this.#joinRef) return; // of a former join
    switch (event) {
      case "phx_reply": {
        const { status, response } = payload as { status: string; response: unknown };
        if (status !== "ok") ledger.problem(`client ${number} got ${JSON.stringify(response)} for ${ref}`);
        else if (ref?.startsWith("b") === true) ledger.acknowledged(Number(ref.slice(1)));
        return;
      }
      case "system": {
        const { status, message } = payload as { status: string; message: string };
        if (status !== "ok") ledger.problem(`client ${number} was told: ${message}`);
        else if (message === "Subscribed to PostgreSQL") session.liveMs = performance.now();
        return;
      }
      case "broadcast":
        ledger.receivedBroadcast(session, (payload as { payload: { number: number } }).payload.number);
        return;
      case "postgres_changes": {
        const { record } = (payload as { data: { record: { id: number; room: number } } }).data;
        ledger.receivedChange(session, record.id, record.room);
        return;
      }
      case "presence_state":
        this.#present.clear();
        this.#arrive(payload as Entries);
        return;
      case "presence_diff": {
        const { joins, leaves } = payload as { joins: Entries; leaves: Entries };
        this.#arrive(joins);
        this.#depart(leaves);
        return;
      }
      default:
        ledger.problem(`client ${number} got ${event}`);
    }
  }

  #arrive(entries: Entries): void {
    for (const [key, { metas }] of Object.entries(entries)) {
      const known = this.#present.get(key) ?? new Map<string, number>();
      for (const { phx_ref: metaRef, n } of metas) known.set(metaRef, n);
      this.#present.set(key, known);
    }
  }

  #depart(entries: Entries): void {
    for (const [key, { metas }] of Object.entries(entries)) {
      const known = this.#present.get(key);
      for (const { phx_ref: metaRef } of metas) known?.delete(metaRef);
      if (known?.size === 0) this.#present.delete(key);
    }
  }
}
