import type { ChangeKind } from "@walcast/change-log";
import type { Position } from "@walcast/model";
import type { Serializer } from "@walcast/protocol";
import type { Principal } from "@walcast/row-security";
import { columnsOf, orUnknownLabel, SubscriptionIndex, type Subscription } from "@walcast/subscriptions";
import type { Binding } from "./binding.ts";

/** What makes channels get byte-identical frames. */
export interface Audience {
  readonly topic: string;
  readonly serializer: Serializer;
  readonly dialect: "current" | "legacy";
  readonly bindings: readonly Binding[];
  /** Changes say when and by which transaction they were committed. */
  readonly hasMeta?: boolean | undefined;
  /**
   * They hold the rows of their bindings: `plain` is told of truncates, `collection` of all that takes a row away, whatever
   * they filter by.
   */
  readonly holdsRows?: "plain" | "collection" | undefined;
  /** As whom it reads; `undefined`: rights are not asked for. */
  readonly reader?: Reader | undefined;
}

/** Those who may read the same: of one role, or, where policies decide about rows, of one token's claims. */
export interface Reader {
  readonly key: string;
  readonly principal: Principal;
  /** Rows are asked for; otherwise it stands for everybody of the role. */
  readonly isAlone: boolean;
}

export const readerOfRole = (principal: Principal): Reader => ({
  key: `role ${principal.role}`,
  principal,
  isAlone: false,
});
export const readerAlone = (principal: Principal): Reader => ({ key: principal.key, principal, isAlone: true });

/** A channel as a member of a group. */
export interface Listener {
  /** From here on the frames of the group reach it: what came before has been decided. */
  hear(group: Group): void;
  /** A frame of the group for it alone: it does not hear the group yet. */
  take(group: Group, frame: Buffer): void;
  /** The policies have to be asked: it goes over to the group of those with its own claims, which is returned. */
  standAlone(): Group;
  /** From this change on it reads the log by itself. */
  fallBehind(from: Position): void;
  /** It cannot be served any more; the client comes back by itself. */
  fail(reason: string): void;
}

/**
 * All local channels of one audience. It is a topic of the WebSocket server: one frame is built, and the server's own code
 * publishes it to all members. The cost of a change grows with groups, not with clients.
 */
export interface Group extends Audience {
  /** The native topic its members' sockets are subscribed to. */
  readonly name: string;
  members: number;
  /** Those of them that can be spoken to: all but followers on their way to the present. */
  readonly listeners: Set<Listener>;
  /** By `dataKey`. */
  readonly views: ReadonlyMap<string, View>;
  /** The columns that filters look at, by the ids of their bindings. */
  readonly filtered: ReadonlyMap<number, readonly string[]>;
  readonly subscriptions: readonly Subscription<View>[];
  /** Equal where frames around equal data and ids are the same bytes: groups that differ only in who reads. */
  readonly frameKey: string;
  /** Primary keys of the tables, by the ids of the bindings, where rows are kept. */
  readonly keys: ReadonlyMap<number, readonly string[]>;
  /** The bytes before a change's data, by what they depend on: the event or the matching ids. Filled by fan-out. */
  readonly heads: Map<string, Buffer>;
}

/** The bindings of a group that get the same columns, and with them one frame for each change (protocol.md 4.6). */
export interface View {
  readonly group: Group;
  /** The columns it gets; `undefined` for all of them. */
  readonly select: readonly string[] | undefined;
  /** Equal where a change's data is the same bytes. */
  readonly dataKey: string;
  /** It is told that a row left, and nothing else of the change. */
  readonly isLeaving?: boolean;
  /** It is told of a row that may not be seen, whatever is in it, and nothing of others. */
  readonly isHiding?: boolean;
  /** It is told of changes that its role is refused, whatever its bindings filter by, and of nothing else. */
  readonly isRefusal?: boolean;
}

/** The groups that exist on this gateway, and the index that finds them. */
export class Groups {
  readonly index = new SubscriptionIndex<View>();
  /** Of those who keep rows and filter: matched by what a row was, all of them, and those whose rights are asked for. */
  readonly leaving = {
    byFilter: new SubscriptionIndex<View>(),
    all: new SubscriptionIndex<View>(),
    hiding: new SubscriptionIndex<View>(),
  };
  /** Of those who filter and whose rights are asked for, by role. */
  readonly refusals = new Map<string, SubscriptionIndex<View>>();
  readonly #byKey = new Map<string, Group>();
  #created = 0;

  get size(): number {
    return this.#byKey.size;
  }

  /** One more member. The caller subscribes its socket to `name`. */
  enter(audience: Audience, listener?: Listener): Group {
    const key = keyOf(audience);
    const group = this.#byKey.get(key) ?? this.#create(key, audience);
    group.members++;
    if (listener !== undefined) group.listeners.add(listener);
    return group;
  }

  leave(group: Group, listener?: Listener): void {
    if (listener !== undefined) group.listeners.delete(listener);
    if (--group.members > 0) return;
    this.#byKey.delete(keyOf(group));
    for (const subscription of group.subscriptions) this.#indexOf(subscription).remove(subscription);
  }

  #indexOf({ group, filter }: Subscription<View>): SubscriptionIndex<View> {
    if (group.isHiding === true) return this.leaving.hiding;
    if (group.isRefusal === true) return this.#refusalsOf(group.group.reader?.principal.role ?? "");
    if (group.isLeaving !== true) return this.index;
    return filter.length > 0 ? this.leaving.byFilter : this.leaving.all;
  }

  #refusalsOf(role: string): SubscriptionIndex<View> {
    const index = this.refusals.get(role) ?? new SubscriptionIndex<View>();
    this.refusals.set(role, index);
    return index;
  }

  #create(key: string, audience: Audience): Group {
    const subscriptions: Subscription<View>[] = [];
    const views = new Map<string, View>();
    const filtered = new Map<number, readonly string[]>();
    const group: Group = {
      ...audience,
      name: `g${++this.#created}`,
      members: 0,
      listeners: new Set(),
      views,
      filtered,
      subscriptions,
      frameKey: JSON.stringify([
        audience.topic,
        audience.serializer.vsn,
        audience.dialect,
        audience.holdsRows === "collection",
      ]),
      keys: new Map(audience.bindings.map(({ id, key }) => [id, key ?? []])),
      heads: new Map(),
    };
    const leavingView: View = { group, select: undefined, dataKey: "leaving", isLeaving: true };
    const hidingView: View = { group, select: undefined, dataKey: "hiding", isHiding: true };
    const refusalView: View = { group, select: undefined, dataKey: "refusal", isRefusal: true };
    for (const { id, kinds, schema, table, filter, select } of distinct(audience.bindings)) {
      const dataKey = JSON.stringify(formOf(group, select));
      const view = views.get(dataKey) ?? { group, select, dataKey };
      views.set(dataKey, view);
      if (filter.length > 0) filtered.set(id, columnsOf(filter));
      subscriptions.push({ group: view, id, kinds, schema, table, filter });
      if (audience.reader !== undefined && filter.length > 0) {
        views.set(refusalView.dataKey, refusalView);
        subscriptions.push({ group: refusalView, id, kinds, schema, table, filter: [] });
      }
      if (audience.holdsRows === undefined) continue;
      subscriptions.push({ group: view, id, kinds: truncates, schema, table, filter: [] });
      if (audience.holdsRows === "plain" || filter.length === 0) continue;
      views.set(leavingView.dataKey, leavingView);
      const leaving = { group: leavingView, id, kinds: leavingKinds, schema, table };
      subscriptions.push({ ...leaving, filter: orUnknownLabel(filter) }, { ...leaving, filter: [] });
      if (audience.reader === undefined) continue;
      views.set(hidingView.dataKey, hidingView);
      subscriptions.push({ group: hidingView, id, kinds: updates, schema, table, filter: [] });
    }
    this.#byKey.set(key, group);
    for (const subscription of subscriptions) this.#indexOf(subscription).add(subscription);
    return group;
  }
}

/** The views that want a change, with the ids of their bindings that do. */
export function byView(subscriptions: readonly Subscription<View>[]): Map<View, number[]> {
  const views = new Map<View, number[]>();
  for (const { group: view, id } of subscriptions) {
    const ids = views.get(view);
    if (ids === undefined) views.set(view, [id]);
    else ids.push(id);
  }
  // Frames are told apart by their ids, also by clients that get a change again from another gateway.
  for (const ids of views.values()) if (ids.length > 1) ids.sort((a, b) => a - b);
  return views;
}
const truncates: ReadonlySet<ChangeKind> = new Set(["truncate"]);
const updates: ReadonlySet<ChangeKind> = new Set(["update"]);
const leavingKinds: ReadonlySet<ChangeKind> = new Set(["update", "delete"]);

/** What the data of a change differs in. */
export const formOf = (
  { dialect, hasMeta, holdsRows }: Audience,
  ...selections: readonly (readonly string[] | undefined)[]
): readonly unknown[] => [dialect, hasMeta ?? false, holdsRows === "collection", ...selections];

/** Equal requests have equal ids, which a frame lists once. */
const distinct = (bindings: readonly Binding[]): Binding[] => [
  ...new Map(bindings.map((binding) => [binding.id, binding])).values(),
];

const keyOf = ({ topic, serializer, dialect, hasMeta, holdsRows, reader, bindings }: Audience): string =>
  JSON.stringify([
    topic,
    serializer.vsn,
    dialect,
    hasMeta ?? false,
    holdsRows ?? null,
    reader?.key ?? null,
    bindings.map(({ id, event, schema, table, filter, select }) => [id, event, schema, table, filter, select]),
    holdsRows === "collection" ? bindings.map(({ key }) => key ?? null) : null,
  ]);

/** The name of a change on the wire. */
export const eventNames: Readonly<Record<ChangeKind, string>> = {
  insert: "INSERT",
  update: "UPDATE",
  delete: "DELETE",
  truncate: "TRUNCATE",
  message: "MESSAGE",
};
