import { sleep } from "@walcast/lifecycle";
import { subscribed, subscribeFailed } from "@walcast/protocol";
import { compileFilter, FilterSyntaxError, FilterTypeError, resolveSelection, shapeOf } from "@walcast/subscriptions";
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
import type { Group, Groups } from "./group.ts";
import type { PublicationCatalog, PublishedTable } from "./postgres/publication-catalog.ts";
import type { Serializer, SystemMessage } from "@walcast/protocol";

export interface SubscriberOptions {
  readonly groups: Groups;
  readonly catalog: PublicationCatalog;
  /** Resolves when the reader's place in the log is pinned: from then on nothing that is committed is missed. */
  readonly reading: () => Promise<void>;
  readonly random?: () => number;
}

/** What the subscriber needs of the connection the channel is on. */
export interface SubscribingConnection {
  readonly serializer: Serializer;
  system(channel: Channel, message: SystemMessage): void;
  enter(channel: Channel, group: Group): void;
}

/** Wrong parameters: told once and not tried again (protocol.md 4.7). */
class RefusedSubscription extends Error {
  readonly code = "SUBSCRIPTION_REFUSED";
}

/** A filter on a pattern of names has to fit each table; beyond so many they are not asked about. */
const filteredTablesLimit = 1_000;

const cannotSubscribe = "Unable to subscribe to changes with given parameters.";

/** Makes a joined channel receive changes, and tells it so: the second of the two moments of success (protocol.md 11.5). */
export class Subscriber {
  readonly #options: SubscriberOptions;

  constructor(options: SubscriberOptions) {
    this.#options = options;
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
        const bindings = await this.#resolve(asked, channel.dialect);
        await this.#options.reading();
        if (signal.aborted) return;
        const { serializer } = connection;
        connection.enter(
          channel,
          this.#options.groups.enter({ topic, serializer, dialect: channel.dialect, bindings }),
        );
        connection.system(channel, subscribed(topic));
        return;
      } catch (error) {
        if (signal.aborted) return;
        const message = messageOf(error);
        if (message === undefined) throw error;
        connection.system(channel, subscribeFailed(topic, message));
        if (!(error instanceof DatabaseUnavailableError)) return;
        await sleep(5_000 + 5_000 * random(), signal);
      }
    }
  }

  /** All bindings or none (protocol.md 4.7). A legacy topic may name a table that is published later. */
  async #resolve(bindings: readonly Binding[], dialect: Channel["dialect"]): Promise<Binding[]> {
    const resolved: Binding[] = [];
    for (const binding of bindings) {
      const { schema, table, filter } = binding;
      const limit = filter.length === 0 ? 1 : filteredTablesLimit;
      const tables = await this.#options.catalog.describe(schema, table, { limit });
      if (tables.length === 0 && dialect === "current") {
        throw new RefusedSubscription(
          `${cannotSubscribe} Please check Realtime is enabled for the given connect parameters: ${describeBinding(binding)}`,
        );
      }
      resolved.push(fit(binding, tables));
    }
    return resolved;
  }
}

/** The binding with its selection resolved, if it fits all of its tables. */
function fit(binding: Binding, tables: readonly PublishedTable[]): Binding {
  try {
    for (const { columns } of tables) compileFilter(binding.filter, shapeOf(columns));
    const [table] = tables;
    if (table === undefined || binding.select === undefined) return binding;
    return { ...binding, select: resolveSelection(binding.select, table) };
  } catch (error) {
    if (!(error instanceof FilterTypeError)) throw error;
    throw new RefusedSubscription(
      `${cannotSubscribe} An exception happened so please check your connect parameters: ${describeBinding(binding)}. ` +
        `Exception: ${error.message}`,
      { cause: error },
    );
  }
}

/** What the client is told; `undefined` for an error that is nobody's parameters. */
function messageOf(error: unknown): string | undefined {
  if (error instanceof RefusedSubscription || error instanceof BindingError || error instanceof FilterSyntaxError)
    return error.message;
  if (error instanceof DatabaseUnavailableError)
    return `${cannotSubscribe} The database cannot be reached, trying again`;
  return undefined;
}
