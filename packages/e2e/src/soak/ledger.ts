/** What one client got while it was in its room without a break. */
export interface Session {
  readonly client: number;
  readonly room: number;
  /** Which of the client's connections it was on. */
  readonly connection: number;
  /** From when on it receives everything; `undefined` before that. */
  liveMs: number | undefined;
  endMs: number | undefined;
  /** Numbers of broadcasts and changes, in order. */
  readonly broadcasts: number[];
  readonly changes: number[];
}

interface SentBroadcast {
  readonly room: number;
  readonly sender: Session;
  readonly sentMs: number;
  ackedMs: number | undefined;
}

interface CommittedChange {
  readonly id: number;
  readonly room: number;
  readonly begunMs: number;
  readonly committedMs: number;
}

/** A gateway takes a moment to tell the others that it has members in a room. */
const settleMs = 2_000;

/** Who sent what when, who got what when, and what does not fit together. */
export class Ledger {
  readonly problems: string[] = [];
  readonly #sessions: Session[] = [];
  readonly #broadcasts: SentBroadcast[] = [];
  readonly #changes: CommittedChange[] = [];
  readonly #lastOfSender = new WeakMap<Session, Map<number, number>>();
  /** So long before its end a session may miss something: a gateway may have been frozen when it came. */
  readonly #marginMs: number;

  constructor(marginMs: number) {
    this.#marginMs = marginMs;
  }

  begin({ client, room, connection }: Pick<Session, "client" | "room" | "connection">): Session {
    const session: Session = {
      client,
      room,
      connection,
      liveMs: undefined,
      endMs: undefined,
      broadcasts: [],
      changes: [],
    };
    this.#sessions.push(session);
    return session;
  }

  /** Returns the broadcast's number. */
  sent(sender: Session): number {
    this.#broadcasts.push({ room: sender.room, sender, sentMs: performance.now(), ackedMs: undefined });
    return this.#broadcasts.length - 1;
  }

  acknowledged(broadcast: number): void {
    const sent = this.#broadcasts[broadcast];
    if (sent !== undefined) sent.ackedMs = performance.now();
  }

  committed(change: Omit<CommittedChange, "committedMs">): void {
    this.#changes.push({ ...change, committedMs: performance.now() });
  }

  receivedBroadcast(session: Session, broadcast: number): void {
    const sent = this.#broadcasts[broadcast];
    if (sent?.room !== session.room) {
      this.problem(`client ${session.client} got broadcast ${broadcast}, which nobody sent to its room`);
      return;
    }
    const last = this.#lastOfSender.get(session) ?? new Map<number, number>();
    this.#lastOfSender.set(session, last);
    const before = last.get(sent.sender.client) ?? -1;
    if (broadcast <= before && (session.broadcasts.includes(broadcast) || this.#mustPrecede(sent, before)))
      this.problem(`client ${session.client} got broadcast ${broadcast} of ${sent.sender.client} after ${before}`);
    last.set(sent.sender.client, Math.max(before, broadcast));
    session.broadcasts.push(broadcast);
  }

  /**
   * What was sent on one connection comes in order, and what was acknowledged before what is sent on the next. What a client
   * sent on a connection that it cut, without an acknowledgement, a frozen gateway may read when the client is elsewhere.
   */
  #mustPrecede({ sender, ackedMs = Number.POSITIVE_INFINITY }: SentBroadcast, later: number): boolean {
    const next = this.#broadcasts[later];
    return next === undefined || next.sender.connection === sender.connection || ackedMs < next.sentMs;
  }

  receivedChange(session: Session, id: number, room: number): void {
    if (room !== session.room) this.problem(`client ${session.client} of room ${session.room} got a change of ${room}`);
    const before = session.changes.at(-1) ?? -1;
    if (id <= before) this.problem(`client ${session.client} got change ${id} after ${before}`);
    session.changes.push(id);
  }

  problem(text: string): void {
    if (this.problems.length < 50) this.problems.push(text);
  }

  /** Adds what is missing to the problems; returns what was compared. */
  audit(): Readonly<Record<string, number>> {
    const byRoom = <T extends { readonly room: number }>(all: readonly T[]): Map<number, T[]> => {
      const rooms = new Map<number, T[]>();
      for (const one of all) rooms.set(one.room, [...(rooms.get(one.room) ?? []), one]);
      return rooms;
    };
    const [sessions, numbered] = [
      this.#sessions,
      this.#broadcasts.map((sent, number) => ({ ...sent, number })).filter(({ ackedMs }) => ackedMs !== undefined),
    ];
    const [broadcasts, changes] = [byRoom(numbered), byRoom(this.#changes)];
    const compared = { broadcasts: 0, changes: 0 };
    for (const session of sessions) {
      const { liveMs, endMs = Number.POSITIVE_INFINITY, client, room } = session;
      if (liveMs === undefined) continue;
      const untilMs = endMs - this.#marginMs;
      const got = new Set(session.broadcasts);
      for (const { number, sender, sentMs, ackedMs = sentMs } of broadcasts.get(room) ?? []) {
        const isSenderThere = (sender.endMs ?? Number.POSITIVE_INFINITY) > ackedMs + this.#marginMs;
        if (sender.client === client || !isSenderThere) continue;
        if (sentMs < liveMs + settleMs || ackedMs > untilMs) continue;
        compared.broadcasts++;
        if (!got.has(number)) this.problem(`client ${client} lost broadcast ${number} of client ${sender.client}`);
      }
      const seen = new Set(session.changes);
      for (const { id, begunMs, committedMs } of changes.get(room) ?? []) {
        if (begunMs < liveMs || committedMs > untilMs) continue;
        compared.changes++;
        if (!seen.has(id)) this.problem(`client ${client} lost change ${id}`);
      }
    }
    const received = (kind: "broadcasts" | "changes"): number =>
      sessions.reduce((sum, session) => sum + session[kind].length, 0);
    return {
      sessions: sessions.length,
      broadcasts_sent: this.#broadcasts.length,
      broadcasts_acknowledged: numbered.length,
      broadcasts_received: received("broadcasts"),
      broadcasts_compared: compared.broadcasts,
      changes_committed: this.#changes.length,
      changes_received: received("changes"),
      changes_compared: compared.changes,
    };
  }
}
