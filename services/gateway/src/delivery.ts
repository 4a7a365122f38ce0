import type { LoggedBatch, LoggedChange, LoggedRelation } from "@walcast/change-log";
import type { Position, Relation } from "@walcast/model";
import { ChangeData, type ChangeDataOptions } from "./change-data.ts";
import { bringsBroadcasts, broadcastOf } from "./database-broadcasts.ts";
import { FanOut, type Emit, type Match } from "./fan-out.ts";
import { byView, type Group, type Groups, type View } from "./group.ts";
import { addLeaving } from "./leaving.ts";
import type { GatewayMetrics } from "./metrics.ts";
import type { Readers } from "./readers.ts";
import { addRefused } from "./refusals.ts";
import { GuardedChange, type GuardedMatch } from "./ruling.ts";

/** A relation with what is kept for as long as it stays the same. */
interface KnownRelation {
  /** As the batch at hand says it. */
  logged: LoggedRelation;
  readonly relation: Relation;
  readonly data: ChangeData;
  readonly isBroadcast: boolean;
}

/** Relations remembered by their text; beyond this the oldest is forgotten and read again when needed. */
const knownRelationsLimit = 10_000;

export interface DeliveryOptions extends ChangeDataOptions {
  readonly metrics: GatewayMetrics;
}

/** Whose groups get the changes, and how. */
export interface Recipients {
  readonly groups: Groups;
  /** Decides for groups that have a reader; needed where there are any. */
  readonly readers?: Readers | undefined;
  readonly emit: Emit;
  /** Takes what the database has to say to channels; those who catch up have no part in it. */
  readonly broadcast?:
    | ((found: NonNullable<ReturnType<typeof broadcastOf>>, change: Pick<LoggedChange, "xid">) => void)
    | undefined;
}

/** From a batch to the frames of the groups that want its changes: the same for those who listen and those who catch up. */
export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #relations = new Map<string, KnownRelation>();

  constructor(options: DeliveryOptions) {
    this.#options = options;
  }

  /**
   * Emits, in order, the frames of the changes after `after` that any of the groups wants and may see; what rights have to be
   * asked for is emitted later. Returns how many changes there are.
   */
  deliver(batch: LoggedBatch, after: Position | undefined, recipients: Recipients): number {
    const { groups, readers, emit, broadcast } = recipients;
    const { index } = groups;
    let changes = 0;
    let known: KnownRelation | undefined;
    for (const change of batch.changes(after)) {
      changes++;
      if (known?.logged !== change.relation) known = this.#known(change.relation);
      const { relation, data, isBroadcast } = known;
      if (isBroadcast) {
        const found = broadcast && broadcastOf(change, relation);
        if (found !== undefined) broadcast?.(found, change);
        continue;
      }
      if (!index.concerns(relation)) continue;
      const found = index.match(relation, change);
      const isMatch = found.length > 0 || groups.refusals.size > 0 || groups.leaving.all.concerns(relation);
      if (!isMatch) continue;
      const matches = byView(found);
      addLeaving(groups, { relation, change }, matches);
      if (readers !== undefined) addRefused(groups, { relation, change, readers }, matches);
      if (matches.size === 0) continue;
      const fanOut = new FanOut(data, change);
      const guarded = takeGuarded(matches, new GuardedChange({ change, relation, fanOut, emit }));
      for (const match of guarded) readers?.take(match);
      fanOut.all(matches, emit);
      this.#options.metrics.frames.inc(matches.size);
    }
    return changes;
  }

  /** Equal text is the same relation: its columns are one array, which the index relies on. */
  #known(logged: LoggedRelation): KnownRelation {
    let known = this.#relations.get(logged.text);
    if (known === undefined) {
      const relation = logged.parse();
      known = {
        logged,
        relation,
        data: new ChangeData(relation, this.#options),
        isBroadcast: bringsBroadcasts(relation),
      };
      const oldest = this.#relations.size >= knownRelationsLimit ? this.#relations.keys().next().value : undefined;
      if (oldest !== undefined) this.#relations.delete(oldest);
      this.#relations.set(logged.text, known);
    }
    known.logged = logged;
    return known;
  }
}

/**
 * Takes out the views of groups that have a reader, by group. Those who stand alone come first: when a group of a role falls
 * apart at this change its members come over behind them (readers.ts).
 */
function takeGuarded(matches: Map<View, number[]>, guarded: GuardedChange): readonly GuardedMatch[] {
  const alone: GuardedMatch[] = [];
  const ofRoles: GuardedMatch[] = [];
  const wantsOf = new Map<Group, Match[]>();
  for (const [view, ids] of matches) {
    const { group } = view;
    if (group.reader === undefined) continue;
    matches.delete(view);
    const known = wantsOf.get(group);
    if (known !== undefined) {
      known.push({ view, ids });
      continue;
    }
    const wants = [{ view, ids }];
    if (group.views.size > 1) wantsOf.set(group, wants);
    (group.reader.isAlone ? alone : ofRoles).push({ group, wants, guarded });
  }
  return ofRoles.length === 0 ? alone : [...alone, ...ofRoles];
}
