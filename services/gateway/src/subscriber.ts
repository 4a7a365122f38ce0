import { sleep } from "@walcast/lifecycle";
import { formatPosition, zeroLsn, type Column, type Position } from "@walcast/model";
import { resumeUnknown, subscribed, subscribeFailed } from "@walcast/protocol";
import {
  columnsOf,
  compileFilter,
  FilterSyntaxError,
  FilterTypeError,
  resolveSelection,
  shapeOf,
  withEnumOrders,
} from "@walcast/subscriptions";
import { DatabaseUnavailableError } from "@walcast/postgres";
import {
  BindingError,
  describeBinding,
  parseBinding,
  parseLegacyBinding,
  type Binding,
  type IdentifiedRequest,
} from "./binding.ts";
import type { Channel } from "./channel.ts";
import type { Explanations } from "./explanations.ts";
import type { ConnectionPlaces } from "./connection-places.ts";
import type { Audience, Groups } from "./group.ts";
import { checkAsked, ChannelRows, type BindingTable } from "./channel-rows.ts";
import { Membership, type MemberConnection } from "./membership.ts";
import { Pace } from "./pace.ts";
import type { PublicationCatalog, PublishedTable } from "./postgres/publication-catalog.ts";
import type { Readers } from "./readers.ts";
import type { Resumer } from "./resumer.ts";
import type { JoinRequest, Serializer } from "@walcast/protocol";
import type { AccessCatalog, Principal } from "@walcast/row-security";
import { tableOf } from "./binding-table.ts";
import type { RowTags } from "./row-tags.ts";
import type { Snapshots } from "./snapshots.ts";
import type { Claims } from "@walcast/authz";

export interface SubscriberOptions {
  readonly groups: Groups;
  readonly catalog: PublicationCatalog;
  readonly resumer: Resumer;
  /** `undefined`: everybody may see everything. */
  readonly readers?: Readers | undefined;
  readonly access?: Pick<AccessCatalog, "access"> | undefined;
  readonly explanations?: Explanations;
  /** Resolves when the reader's place in the log is pinned: from then on nothing that is committed is missed. */
  readonly reading: () => Promise<void>;
  /** Headers that policies of rows may look at. */
  readonly rowHeaders?: readonly string[];
  readonly random?: () => number;
  readonly snapshots: Snapshots;
  readonly maxRecordBytes: number;
  readonly tags: RowTags;
}

/** What the subscriber needs of the connection the channel is on. */
export interface SubscribingConnection extends MemberConnection {
  readonly serializer: Serializer;
  /** It was opened with. */
  readonly headers: Readonly<Record<string, string>> | undefined;
  /** A frame of the channel's topic, to its client alone. */
  tell(channel: Channel, event: string, payload: object): void;
  /** `undefined`: the client keeps its places itself, or does not come back to them. */
  readonly places?: Pick<ConnectionPlaces, "begin"> | undefined;
}

/** Wrong parameters: told once and not tried again (protocol.md 4.7). */
class RefusedSubscription extends Error {
  readonly code = "SUBSCRIPTION_REFUSED";
}

/** A filter on a pattern of names has to fit each table; beyond so many they are not asked about. */
const filteredTablesLimit = 1_000;

/** Where a log stands that has never held anything. */
const beginningOfLog: Position = { epoch: 1, commitLsn: zeroLsn, index: 0 };

const cannotSubscribe = "Unable to subscribe to changes with given parameters.";

/** Makes a joined channel receive changes, and tells it so: the second of the two moments of success (protocol.md 11.5). */
export class Subscriber {
  readonly #options: SubscriberOptions;
  /** Many that waited for the same answer of the database begin in turns: those who have begun are not to wait for them. */
  readonly #pace = new Pace({ turnMs: 3, rest: 0 });

  constructor(options: SubscriberOptions) {
    this.#options = options;
  }

  /** Why the join is refused before anything is subscribed to. */
  refusal(request: JoinRequest): ReturnType<Explanations["refusal"]> {
    return this.#options.explanations?.refusal(request);
  }

  /** Resolves when the channel is subscribed, was refused, or has ended. A database that is away is asked again. */
  async subscribe(
    connection: SubscribingConnection,
    channel: Channel,
    requests: readonly IdentifiedRequest[],
  ): Promise<void> {
    const { signal } = channel.ended;
    const { topic } = channel;
    const random = this.#options.random ?? Math.random;
    while (!signal.aborted) {
      try {
        const asked = requests.map(channel.dialect === "legacy" ? parseLegacyBinding : parseBinding);
        const bindings = await this.#resolve(asked, channel);
        await this.#options.reading();
        // One that holds rows reads them again: what it had of them is not known.
        const places = channel.snapshot === undefined ? connection.places : undefined;
        const beginning = await places?.begin(channel, this.#present());
        if (beginning?.tag === "from") channel.resumeFrom = beginning.position;
        const { serializer } = connection;
        const { dialect, hasMeta } = channel;
        const audience = { topic, serializer, dialect, bindings, hasMeta };
        await this.#pace.work(() => {
          if (signal.aborted) return;
          this.#begin(connection, channel, audience);
          if (beginning?.tag === "unknown")
            connection.system(channel, resumeUnknown(topic, formatPosition(this.#present())));
        });
        return;
      } catch (error) {
        if (signal.aborted) return;
        const message = messageOf(error);
        if (message === undefined) throw error;
        const isRetried = error instanceof DatabaseUnavailableError;
        if (channel.held?.isWaiting !== true) connection.system(channel, subscribeFailed(topic, message));
        else if (!isRetried) channel.held.disabled(message);
        if (!isRetried) return;
        await sleep(5_000 + 5_000 * random(), signal);
      }
    }
  }

  /** From this moment on nothing is missed: the channel is one of its group, or on its way to become so. */
  #begin(connection: SubscribingConnection, channel: Channel, audience: Omit<Audience, "reader">): void {
    const { groups, resumer, readers, rowHeaders = [] } = this.#options;
    const { claims } = channel;
    // What was left meanwhile, another gateway may have named otherwise: a collection begins with its rows.
    const resumeFrom = channel.snapshot?.isCollection === true ? undefined : channel.resumeFrom;
    const headers = pick(connection.headers ?? {}, rowHeaders);
    channel.held?.live(); // before anything that the channel receives
    const rows = this.#rowsOf(connection, channel, audience.bindings);
    const onRows = (after: Position): void => this.#tellPlace(connection, channel, after);
    const membership = new Membership({
      groups,
      resumer,
      readers,
      connection,
      channel,
      audience: { ...audience, holdsRows: holdingOf(channel) },
      rows,
      onRows,
      claims,
      headers,
    });
    channel.membership = membership;
    const tell = (payload: object): void => connection.tell(channel, "explain", payload);
    this.#options.explanations?.begin(channel, audience.bindings, { headers, tell });
    if (rows !== undefined && resumeFrom === undefined) return membership.start(undefined);
    // A channel that goes on from an earlier place is told before what it missed.
    if (resumeFrom === undefined) membership.start(undefined);
    this.#tellPlace(connection, channel, resumeFrom);
    if (resumeFrom !== undefined) membership.start(resumeFrom);
  }

  /** A new token of a subscribed channel (protocol.md 4.9). */
  reauthorise(connection: SubscribingConnection, channel: Channel, claims: Claims): void {
    channel.claims = claims;
    if (channel.membership === undefined) return; // it will begin with this token
    const from = channel.membership.reauthorise(claims);
    if (!channel.membership.isReadingRows) this.#tellPlace(connection, channel, from);
  }

  #rowsOf(connection: SubscribingConnection, channel: Channel, bindings: readonly Binding[]): ChannelRows | undefined {
    const { snapshots, catalog, access, maxRecordBytes, tags } = this.#options;
    const { snapshot: asked } = channel;
    if (asked === undefined) return undefined;
    const tables = async (principal: Principal | undefined, notBeforeMs?: number): Promise<BindingTable[]> => {
      const order = checkAsked(asked, snapshots.maxRows);
      return await Promise.all(
        bindings.map((binding) =>
          tableOf({ binding, order, limit: asked.limit }, { catalog, access, principal, notBeforeMs }),
        ),
      );
    };
    return new ChannelRows({ snapshots, connection, channel, asked, tables, maxRecordBytes, tags });
  }

  /**
   * Never the present to a channel that is still to get what it missed: a client that is cut off then would come back with
   * that place, and what it missed would be lost.
   */
  #tellPlace(connection: SubscribingConnection, channel: Channel, from: Position | undefined): void {
    const place = from ?? this.#present();
    connection.system(channel, subscribed(channel.topic, formatPosition(place)));
  }

  #present(): Position {
    return this.#options.resumer.recent.end ?? beginningOfLog;
  }

  /** All bindings or none (protocol.md 4.7). */
  async #resolve(bindings: readonly Binding[], channel: Channel): Promise<Binding[]> {
    const startedMs = performance.now();
    const resolved: Binding[] = [];
    for (const binding of bindings) {
      const found = await this.#resolveOne(binding, channel).catch((error: unknown) => {
        if (!(error instanceof RefusedSubscription && error.cause instanceof FilterTypeError)) throw error;
        // What is kept of the table may be from before the column was there.
        return this.#resolveOne(binding, channel, startedMs);
      });
      resolved.push(found);
    }
    return resolved;
  }

  /** A legacy topic may name a table that is published later. */
  async #resolveOne(binding: Binding, { dialect, claims, snapshot }: Channel, notBeforeMs?: number): Promise<Binding> {
    const { schema, table, filter } = binding;
    const limit = filter.length === 0 ? 1 : filteredTablesLimit;
    const tables = await this.#options.catalog.describe(schema, table, { limit, notBeforeMs });
    if (tables.length === 0 && dialect === "current") {
      throw new RefusedSubscription(
        `${cannotSubscribe} Please check Realtime is enabled for the given connect parameters: ${describeBinding(binding)}`,
      );
    }
    if (claims !== undefined) await this.#checkRights(binding, tables, claims.role);
    const key = snapshot === undefined ? {} : { key: tables[0]?.primaryKey };
    return { ...fit(binding, tables), ...key };
  }

  /** Changes are judged one by one; what can be told at once is told: roles that are none, filters on what may not be read. */
  async #checkRights(binding: Binding, tables: readonly PublishedTable[], role: string): Promise<void> {
    for (const { oid, columns } of tables) {
      const answer = await this.#options.access?.access({ ...relationOf(oid), columns }, role);
      if (answer?.tag === "unknownRole") {
        throw objection(binding, `ERROR 22023 (invalid_parameter_value) role "${role}" does not exist`);
      }
      if (answer?.tag !== "access") continue;
      const { selectable } = answer.access;
      const isHidden = (name: string): boolean =>
        columns.some((column) => [name, rootOf(name)].includes(column.name)) &&
        !selectable.has(name) &&
        !selectable.has(rootOf(name));
      const hidden = columnsOf(binding.filter).find(isHidden);
      if (hidden !== undefined) {
        throw objection(binding, `ERROR P0001 (raise_exception) invalid column for filter ${hidden}`);
      }
    }
  }
}

/** In the order of the names, so that equal ones are written equally. */
const pick = (headers: Readonly<Record<string, string>>, names: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.flatMap((name) => (Object.hasOwn(headers, name) ? [[name, headers[name] ?? ""]] : [])));
const holdingOf = ({ snapshot }: Channel): Audience["holdsRows"] =>
  snapshot === undefined ? undefined : snapshot.isCollection ? "collection" : "plain";

/** The column that a path into JSON begins with. */
const rootOf = (path: string): string => path.split("->")[0]?.trim() ?? "";

/** As much of a relation as rights depend on. */
const relationOf = (oid: number) => ({ oid, schema: "", table: "", replicaIdentity: "d" }) as const;

/** The words around what the database objects to. */
const objection = (binding: Binding, problem: string, cause?: unknown): RefusedSubscription =>
  new RefusedSubscription(
    `${cannotSubscribe} An exception happened so please check your connect parameters: ${describeBinding(binding)}. ` +
      `Exception: ${problem}`,
    { cause },
  );

/** The binding with its selection and its enums' orders resolved, if it fits all of its tables. */
function fit(binding: Binding, tables: readonly PublishedTable[]): Binding {
  try {
    for (const { columns } of tables) compileFilter(binding.filter, shapeOf(columns));
    const filter = withEnumOrders(
      binding.filter,
      tables.flatMap(({ columns }) => columns),
    );
    for (const { columns } of tables) compileFilter(filter, shapeOf(asLogged(columns)));
    const [table] = tables;
    if (table === undefined || binding.select === undefined) return { ...binding, filter };
    return { ...binding, filter, select: resolveSelection(binding.select, table) };
  } catch (error) {
    if (!(error instanceof FilterTypeError)) throw error;
    throw objection(binding, error.message, error);
  }
}

/** The log has enums by name alone: one that is called as a type of PostgreSQL's own is read as that. */
const asLogged = (columns: readonly Column[]): readonly Column[] =>
  columns.some(({ labels }) => labels !== undefined)
    ? columns.map(({ labels: _labels, ...column }) => column)
    : columns;

/** What the client is told; `undefined` for an error that is nobody's parameters. */
function messageOf(error: unknown): string | undefined {
  if (error instanceof RefusedSubscription || error instanceof BindingError || error instanceof FilterSyntaxError)
    return error.message;
  if (error instanceof DatabaseUnavailableError)
    return `${cannotSubscribe} The database cannot be reached, trying again`;
  return undefined;
}
