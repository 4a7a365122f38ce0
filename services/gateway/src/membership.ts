import type { Claims } from "@walcast/authz";
import { beforeChange, formatPosition, type Position } from "@walcast/model";
import { CloseCode, resumed, resumeGap, type SystemMessage } from "@walcast/protocol";
import { principalOf, type Principal } from "@walcast/row-security";
import type { Follower } from "./catch-up.ts";
import type { Channel } from "./channel.ts";
import type { ChannelRows } from "./channel-rows.ts";
import { readerAlone, readerOfRole, type Audience, type Group, type Groups, type Listener } from "./group.ts";
import type { Readers } from "./readers.ts";
import type { Resumer } from "./resumer.ts";

/** What a membership needs of the connection its channel is on. */
export interface MemberConnection {
  system(channel: Channel, message: SystemMessage): void;
  /** Frames published to the name reach its socket. */
  hear(name: string): void;
  unhear(name: string): void;
  /** In one write, where there is more than one. */
  sendAll(frames: readonly Uint8Array[]): void;
  /** What was given to the socket and has not left this process. */
  unsentBytes(): number;
  end(code: number, reason: string): void;
  /** Ends the channel so that its client joins again. */
  fail(channel: Channel, reason: string): void;
}

export interface MembershipOptions {
  readonly groups: Groups;
  readonly resumer: Resumer;
  /** `undefined`: everybody may see everything. */
  readonly readers: Readers | undefined;
  readonly connection: MemberConnection;
  readonly channel: Channel;
  readonly audience: Omit<Audience, "reader">;
  /** Those of its connection that policies of rows may look at; equal ones share what is asked. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The rows it begins with; `undefined` when it wants changes alone. */
  readonly rows?: ChannelRows | undefined;
  /** Told where changes go on when its rows have been sent. */
  readonly onRows?: (after: Position) => void;
}

/**
 * A channel's place among those who get changes: in a group, or on its way there from an earlier position. It begins among
 * all who have its role, and moves to those who have its very claims when policies have to be asked for its rows.
 */
export class Membership implements Listener {
  readonly #options: MembershipOptions;
  #principal: Principal | undefined;
  #group: Group | undefined;
  /** Whose frames reach the socket: its group, or the former one until what waited for it has been decided. */
  #heard: Group | undefined;
  /** While it catches up. */
  #follower: { readonly follower: Follower; readonly stop: AbortController } | undefined;
  /** While its rows are read. */
  #reading: AbortController | undefined;
  #isOver = false;

  constructor(options: MembershipOptions & { readonly claims: Claims | undefined }) {
    this.#options = options;
    if (options.readers === undefined) return;
    if (options.claims === undefined) throw new Error("rights cannot be asked for without claims");
    this.#principal = principalOf(options.claims, options.headers);
  }

  /** Everything up to here that it wants and may see was handed to its socket; `undefined`: there is no place yet. */
  get place(): Position | undefined {
    return this.#behind ?? this.#options.resumer.recent.end;
  }

  /** Its place where that is not the present: it catches up, or waits for what is decided about rows. */
  get #behind(): Position | undefined {
    if (this.#follower !== undefined) return this.#follower.follower.position;
    const undecided = this.#group && this.#options.readers?.firstUndecided(this.#group, this);
    return undecided && beforeChange(undecided);
  }

  /** From now on, or from after the position. */
  start(from: Position | undefined): void {
    if (from !== undefined) this.#follow(from);
    else if (this.#options.rows === undefined) this.#enter();
    else this.#readRows(this.#options.rows);
  }

  /** Its rows are on their way: it has no place in the log yet. */
  get isReadingRows(): boolean {
    return this.#reading !== undefined;
  }

  /** Changes were lost. False: what it has cannot be made good. */
  renewRows(): boolean {
    const { rows } = this.#options;
    if (rows === undefined || this.#isOver) return false;
    this.#leave();
    this.#readRows(rows);
    return true;
  }

  /**
   * Another token: what it has not been shown yet is shown by the new one's rights. Returns the place it goes on from where
   * that is not the present.
   */
  reauthorise(claims: Claims): Position | undefined {
    if (this.#options.readers === undefined || this.#isOver) return undefined;
    const principal = principalOf(claims, this.#options.headers);
    if (principal.key === this.#principal?.key) return this.#behind;
    if (this.#options.rows !== undefined) {
      this.#principal = principal;
      this.renewRows(); // another token may see others
      return undefined;
    }
    const from = this.#behind;
    this.#leave();
    this.#principal = principal;
    this.start(from);
    return from;
  }

  hear(group: Group): void {
    if (this.#group !== group || this.#heard === group) return;
    this.#options.connection.hear(group.name);
    this.#unhear();
    this.#heard = group;
  }

  take(group: Group, frame: Buffer): void {
    if (this.#group === group) this.#options.connection.sendAll([frame]);
  }

  standAlone(): Group {
    const { groups, audience } = this.#options;
    const former = this.#group;
    if (former === undefined || former.reader?.isAlone !== false || this.#principal === undefined) {
      throw new Error("not a member of a role's group");
    }
    groups.leave(former, this);
    this.#group = groups.enter({ ...audience, reader: readerAlone(this.#principal) }, this);
    return this.#group;
  }

  fallBehind(from: Position): void {
    this.#leave();
    this.start(beforeChange(from));
  }

  fail(reason: string): void {
    this.#options.connection.fail(this.#options.channel, reason);
  }

  /** The channel has ended. */
  end(): void {
    this.#isOver = true;
    this.#leave();
  }

  #enter(): void {
    const { groups, readers, audience } = this.#options;
    const group = groups.enter({ ...audience, reader: this.#principal && readerOfRole(this.#principal) }, this);
    this.#group = group;
    // What is still undecided for others in the group came before this one.
    if (readers === undefined) this.hear(group);
    else readers.hear(group, this);
  }

  #leave(): void {
    this.#follower?.stop.abort();
    this.#follower = undefined;
    this.#reading?.abort();
    this.#reading = undefined;
    this.#unhear();
    const group = this.#group;
    this.#group = undefined;
    if (group === undefined) return;
    this.#options.readers?.unhear(group, this);
    this.#options.groups.leave(group, this);
  }

  #unhear(): void {
    if (this.#heard !== undefined) this.#options.connection.unhear(this.#heard.name);
    this.#heard = undefined;
  }

  #readRows(rows: ChannelRows): void {
    const stop = new AbortController();
    this.#reading = stop;
    const signal = AbortSignal.any([this.#options.channel.ended.signal, stop.signal]);
    this.#goOnAfterRows(rows, signal).catch((error: unknown) => {
      if (!signal.aborted) this.fail(error instanceof Error ? error.message : String(error));
    });
  }

  async #goOnAfterRows(rows: ChannelRows, signal: AbortSignal): Promise<void> {
    const read = await rows.read(this.#principal, signal);
    if (read === undefined || signal.aborted) return;
    this.#reading = undefined;
    this.#options.onRows?.(read.after);
    this.#follow(read.after, read.omits);
  }

  #follow(from: Position, omits?: Follower["omits"]): void {
    const { connection, channel, audience, resumer } = this.#options;
    const { topic } = channel;
    const stop = new AbortController();
    const follower: Follower = {
      audience: { ...audience, reader: this.#principal && readerAlone(this.#principal) },
      position: from,
      omits,
      signal: AbortSignal.any([channel.ended.signal, stop.signal]),
      send: (frames) => connection.sendAll(frames),
      unsentBytes: () => connection.unsentBytes(),
      gap: (end) => {
        if (this.renewRows()) return;
        const positions = { after: formatPosition(follower.position), current: formatPosition(end) };
        connection.system(channel, resumeGap(topic, positions));
      },
      live: () => {
        if (stop.signal.aborted) return;
        this.#follower = undefined;
        this.#enter();
        connection.system(channel, resumed(topic, formatPosition(follower.position)));
      },
      tooSlow: () => connection.end(CloseCode.TryAgainLater, `slow reader, at ${formatPosition(follower.position)}`),
      fail: (reason) => this.fail(reason),
    };
    this.#follower = { follower, stop };
    resumer.resume(follower);
  }
}

/** Splits a group of a role: returns its members with the groups that they are in now. */
export const splitGroup = (group: Group): ReadonlyMap<Listener, Group> =>
  new Map([...group.listeners].map((listener) => [listener, listener.standAlone()]));
