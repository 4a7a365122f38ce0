import type { LoggedBatch, LoggedChange, LoggedRelation } from "@walcast/change-log";
import type { Position, Relation } from "@walcast/model";
import type { JoinRequest } from "@walcast/protocol";
import { explainer } from "@walcast/subscriptions";
import type { Binding } from "./binding.ts";
import type { Channel } from "./channel.ts";
import { bringsBroadcasts } from "./database-broadcasts.ts";
import { explanationOf, type ExplainedBinding } from "./explanation.ts";
import type { Sights } from "./sights.ts";

export interface ExplanationsOptions {
  /** Otherwise nobody is told why. */
  readonly isEnabled: boolean;
  /** `undefined`: everybody may see everything. */
  readonly sights: Sights | undefined;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

export interface Explained {
  /** Those that policies of rows may look at. */
  readonly headers: Readonly<Record<string, string>>;
  /** Sends the payload of an `explain` frame to the channel's client. */
  readonly tell: (payload: object) => void;
}

/** These bound what looking on costs those who only want their changes. */
export const explanationLimits = {
  /** Changes explained to one channel in a second; the rest is counted, and told as skipped. */
  perSecond: 50,
  /** Changes that wait for PostgreSQL's word about their rows. */
  waiting: 100,
  bindings: 100,
  /** Channels of one gateway. */
  channels: 100,
};
const relationsLimit = 1_000;
const windowMs = 1_000;

/**
 * Tells channels that asked for it, of each change of a table that one of their bindings names, why they get it or do not.
 * Where nobody asks, a batch costs one look at a number.
 */
export class Explanations {
  readonly #options: ExplanationsOptions;
  readonly #listeners = new Set<Listener>();
  readonly #relations = new Map<string, Relation>();

  constructor(options: ExplanationsOptions) {
    this.#options = options;
  }

  /** Why a join that asks for explanations is refused; `undefined`: it is not. */
  refusal(request: JoinRequest): { readonly limit: undefined; readonly reason: string } | undefined {
    if (request.tag === "legacy" || !request.isExplained) return undefined;
    if (!this.#options.isEnabled)
      return refused("config.explain needs INSPECTOR=true on this gateway; join without it, or switch it on");
    if (request.postgresChanges.length > explanationLimits.bindings)
      return refused(
        `config.explain takes at most ${explanationLimits.bindings} bindings; join without it, or ask for fewer`,
      );
    return undefined;
  }

  /** From now on, until the channel ends. */
  begin(channel: Channel, bindings: readonly Binding[], { headers, tell }: Explained): void {
    if (channel.isExplained !== true || !this.#options.isEnabled) return;
    if (this.#listeners.size >= explanationLimits.channels) {
      tell({ error: `${explanationLimits.channels} channels of this gateway are explained already; try again later` });
      return;
    }
    const { sights, now = () => performance.now() } = this.#options;
    const listener = new Listener({ channel, bindings, headers, tell, sights, now });
    this.#listeners.add(listener);
    channel.ended.signal.addEventListener("abort", () => {
      this.#listeners.delete(listener);
      listener.end();
    });
  }

  /** Takes the changes of the batch after `after`, which have been delivered. */
  take(batch: LoggedBatch, after: Position | undefined): void {
    if (this.#listeners.size === 0) return;
    let logged: LoggedRelation | undefined;
    let relation: Relation | undefined;
    let concerned: readonly Listener[] = [];
    for (const change of batch.changes(after)) {
      if (relation === undefined || change.relation !== logged) {
        logged = change.relation;
        const found = this.#relationOf(logged);
        relation = found;
        concerned = bringsBroadcasts(found) ? [] : [...this.#listeners].filter((one) => one.concerns(found));
      }
      if (change.kind === "message") continue;
      for (const listener of concerned) listener.take({ change, relation });
    }
  }

  /** The same object for equal text: what is compiled for its columns is kept with them. */
  #relationOf(logged: LoggedRelation): Relation {
    const known = this.#relations.get(logged.text);
    if (known !== undefined) return known;
    if (this.#relations.size >= relationsLimit) this.#relations.clear();
    const relation = logged.parse();
    this.#relations.set(logged.text, relation);
    return relation;
  }
}

const refused = (why: string): { readonly limit: undefined; readonly reason: string } => ({
  limit: undefined,
  reason: `ExplainNotAvailable: ${why}`,
});

export interface SeenChange {
  readonly change: LoggedChange;
  readonly relation: Relation;
}

interface ListenerOptions extends Required<Pick<ExplanationsOptions, "now" | "sights">>, Explained {
  readonly channel: Channel;
  readonly bindings: readonly Binding[];
}

/** One channel that is told why. */
class Listener {
  readonly #options: ListenerOptions;
  readonly #bindings: readonly ExplainedBinding[];
  readonly #concerned = new WeakMap<Relation, boolean>();
  #waiting: SeenChange[] = [];
  #isAsking = false;
  #windowStartMs = Number.NEGATIVE_INFINITY;
  #inWindow = 0;
  #skipped = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#bindings = options.bindings.map((binding) => ({ binding, explainer: explainer(binding) }));
  }

  /** Asked for each run of changes of one table, of which a batch may have very many. */
  concerns(relation: Relation): boolean {
    const known = this.#concerned.get(relation);
    if (known !== undefined) return known;
    const concerned = this.#bindings.some((one) => one.explainer.concerns(relation));
    this.#concerned.set(relation, concerned);
    return concerned;
  }

  take(seen: SeenChange): void {
    const nowMs = this.#options.now();
    if (nowMs - this.#windowStartMs >= windowMs) {
      this.#windowStartMs = nowMs;
      this.#inWindow = 0;
    }
    if (this.#inWindow >= explanationLimits.perSecond || this.#waiting.length >= explanationLimits.waiting) {
      this.#skip();
      return;
    }
    this.#inWindow++;
    if (this.#options.sights === undefined) {
      this.#options.tell(explanationOf(seen, { tag: "all" }, this.#bindings));
      return;
    }
    this.#waiting.push(seen);
    if (!this.#isAsking) void this.#ask(this.#options.sights);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#waiting = [];
  }

  /** Told together, at the end of the second. */
  #skip(): void {
    this.#skipped++;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const skipped = this.#skipped;
      this.#skipped = 0;
      this.#options.tell({ skipped });
    }, windowMs);
  }

  /** In order; what gathers while PostgreSQL answers is asked about together. */
  async #ask(sights: Sights): Promise<void> {
    const { channel, headers, tell } = this.#options;
    const { signal } = channel.ended;
    this.#isAsking = true;
    await Promise.resolve(); // the rest of the batch at hand comes along
    while (this.#waiting.length > 0) {
      const asked = this.#waiting;
      this.#waiting = [];
      const { claims } = channel;
      const found = await sights.of(asked, { claims, headers }, signal);
      if (signal.aborted) return;
      if (channel.claims !== claims) {
        this.#waiting.unshift(...asked); // another token, which may see less
        continue;
      }
      for (const [i, seen] of asked.entries()) {
        tell(explanationOf(seen, found[i] ?? { tag: "hidden" }, this.#bindings));
      }
    }
    this.#isAsking = false;
  }
}
