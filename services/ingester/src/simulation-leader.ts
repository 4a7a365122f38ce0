import { decodeHeader, encodeBatch, type Batch } from "@walcast/change-log";
import { zeroLsn, type Lsn, type Position, type Relation } from "@walcast/model";
import { decodeMessage, type CommitMessage, type RelationMessage, type TypeCatalog } from "@walcast/pgoutput";
import { Acknowledger } from "./acknowledger.ts";
import { BatchBuilder, type NumberedBatch } from "./batch-builder.ts";
import { PublishWindow } from "./publish-window.ts";
import type { SimulatedPostgres, Walsender } from "./simulation-postgres.ts";
import type { SimulationRandom } from "./simulation-random.ts";
import type { Publication, SimulatedStream } from "./simulation-stream.ts";

/** Rules of the real thing that a test takes away, to see that the schedules notice. */
export interface Rules {
  /** A message names the one before it by its id, not by the sequence alone. */
  readonly chainsById: boolean;
  /** Nothing is confirmed before the log was seen to still hold it, a sync interval after it said so. */
  readonly verifies: boolean;
  /** What may be confirmed; else whatever was received is. */
  readonly waitsForLog: boolean;
  /** A new leader stores a message of its own before it begins, which refuses the former leader's from then on. */
  readonly claims: boolean;
  /** It stores so many at once as a former leader may have in flight. */
  readonly claimsAtOnce: boolean;
  /** A crash takes nothing that is stored. */
  readonly isReplicated: boolean;
}

export const realRules: Rules = {
  chainsById: true,
  verifies: true,
  waitsForLog: true,
  claims: true,
  claimsAtOnce: false,
  isReplicated: false,
};
/** Those of a replicated stream. */
export const replicatedRules: Rules = { ...realRules, chainsById: false, claimsAtOnce: true, isReplicated: true };

/** Where a log stands that holds nothing. */
const beginning: Position = { epoch: 1, commitLsn: zeroLsn, index: 0 };
/** More than a leader here ever has in flight. */
const claimTimes = 80;

export interface LeaderOptions {
  readonly name: string;
  readonly postgres: SimulatedPostgres;
  readonly stream: SimulatedStream;
  readonly rules: Rules;
  readonly batchBytesLimit: number;
  readonly windowBytes: number;
  readonly nowMs: () => number;
}

interface Outstanding {
  readonly publication: Publication;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

interface Turn {
  readonly messages: readonly Uint8Array[];
  readonly isIdle: boolean;
  readonly keepaliveLsn: Lsn | undefined;
}

const types: TypeCatalog = new Map([[23, { oid: 23, name: "int4", kind: "b", delimiter: "," }]]);
const markRelation: Relation = { oid: 0, schema: "$mark", table: "$mark", replicaIdentity: "n", columns: [] };

/** Each table once for all leaders: what is printed of a relation is kept with it. */
const relations = new Map<string, Relation>();
function describe(bytes: Uint8Array): Relation {
  const { tag: _tag, columns, ...message } = decodeMessage(bytes) as RelationMessage;
  const known = relations.get(message.table);
  if (known !== undefined) return known;
  const relation = { ...message, columns: columns.map((column) => ({ ...column, type: "int4" })) };
  relations.set(message.table, relation);
  return relation;
}

/**
 * One lead, from opening the log to its end: the same steps in the same order as `Ingester` and `NatsWriter` take them,
 * around the real Acknowledger, PublishWindow and BatchBuilder. Whatever it waits for, the scheduler decides when it comes.
 */
export class SimulatedLeader {
  /** Its messages on their way to the log, in order; they arrive even when it is frozen or dead. */
  readonly outgoing: Outstanding[] = [];
  /** The log's answers on their way back. */
  readonly answers: { readonly to: Outstanding; readonly isStored: boolean }[] = [];
  readonly #options: LeaderOptions;
  readonly #window: PublishWindow;
  #acknowledger: Acknowledger | undefined;
  #walsender: Walsender | undefined;
  #turn = Promise.withResolvers<Turn | "open">();
  #isWaiting = false;
  #failure: Error | undefined;
  #count = 0;
  #sequence = 0;
  #previous: Position | undefined;
  /** The newest message of its own that the log acknowledged, all before it being acknowledged too. */
  #stored: { readonly sequence: number; readonly id: string } | undefined;
  #verifiedMs = 0;
  /** Appended and not settled yet. */
  readonly #pending = new Set<Outstanding>();
  isFrozen = false;
  hasEnded = false;
  /** What was thrown other than the end of the lead. */
  bug: unknown;

  constructor(options: LeaderOptions) {
    this.#options = options;
    this.#window = new PublishWindow({ limitBytes: options.windowBytes });
    this.#lead()
      .catch((error: unknown) => {
        if (!(error instanceof LeadEnded)) this.bug = error;
      })
      .finally(() => (this.hasEnded = true));
  }

  get isStreaming(): boolean {
    return this.#walsender !== undefined && !this.hasEnded;
  }

  /** Lets it go on: open the log, or take what the walsender sent. */
  giveTurn(random: SimulationRandom): void {
    if (!this.#isWaiting) return;
    if (this.#walsender === undefined) return this.#turn.resolve("open");
    if (!this.#walsender.isOpen) return this.fail("the walsender is gone");
    const messages = this.#walsender.take(random.integer(0, 12));
    const { keepaliveLsn } = this.#walsender;
    const hasKeepalive = keepaliveLsn !== undefined && random.chance(0.5);
    this.#turn.resolve({ messages, isIdle: random.chance(0.5), keepaliveLsn: hasKeepalive ? keepaliveLsn : undefined });
  }

  /** The status timer. */
  sendStatus(nowMs: number): void {
    const [walsender, acknowledger] = [this.#walsender, this.#acknowledger];
    if (walsender === undefined || acknowledger === undefined || this.hasEnded) return;
    const { rules } = this.#options;
    if (!rules.waitsForLog) walsender.confirm(acknowledger.receivedLsn);
    else walsender.confirm(acknowledger.flushedLsn(rules.verifies ? this.#verifiedMs : nowMs));
  }

  /** Asks the log whether it still ends with what it acknowledged, or goes on from there. */
  verify(nowMs: number): void {
    if (!this.isStreaming) return;
    const { stream } = this.#options;
    if (this.#stored !== undefined && stream.idAt(this.#stored.sequence) !== this.#stored.id)
      this.fail("the log lost what it acknowledged");
    else this.#verifiedMs = nowMs;
  }

  /** Delivers the log's oldest answer. */
  hear(): void {
    const answer = this.answers.shift();
    if (answer === undefined) return;
    this.#pending.delete(answer.to);
    if (answer.isStored) answer.to.resolve();
    else answer.to.reject(new LeadEnded("refused"));
  }

  /** Anything that ends the lead: a lost connection, a time limit, a signal. */
  fail(why: string): void {
    this.#failure ??= new LeadEnded(why);
    this.#turn.reject(this.#failure);
    this.#turn.promise.catch(() => undefined); // the lead may be waiting for something else
    for (const { reject } of this.#pending) reject(this.#failure);
    this.#pending.clear();
  }

  async #lead(): Promise<void> {
    const { postgres, stream, rules, batchBytesLimit, nowMs } = this.#options;
    await this.#next();
    this.#sequence = stream.lastSequence;
    let last = (this.#previous = this.#findEnd(stream.lastSequence));
    const { lastSequence } = stream;
    const believed = last ?? (rules.claimsAtOnce ? beginning : undefined);
    if (rules.claims && believed !== undefined) {
      const mark = { relation: markRelation, first: believed, last: believed, lines: new Uint8Array() };
      this.#previous = believed;
      await this.#append(mark, rules.claimsAtOnce ? claimTimes : 1);
      last = this.#previous = this.#findEnd(lastSequence);
    }
    const { confirmedLsn } = postgres;
    const acknowledger = new Acknowledger({ syncIntervalMs: stream.syncIntervalMs, confirmedLsn });
    this.#acknowledger = acknowledger;
    this.#walsender = postgres.startReplication(last?.commitLsn ?? zeroLsn);
    const builder = new BatchBuilder({ types, epoch: 1, skipUpTo: last, batchBytesLimit, describe });
    const append = async (batch: NumberedBatch): Promise<void> => {
      const stored = this.#append(batch).then(() => acknowledger.stored(batch.number, nowMs()));
      await this.#window.admit(batch.lines.length, stored);
    };
    this.#window.failed().catch(() => this.fail("an append failed"));
    for (;;) {
      const turn = await this.#next();
      if (turn === "open") continue;
      for (const message of turn.messages) {
        for (const batch of builder.add(message)) await append(batch);
        if (message[0] !== 0x43) continue;
        acknowledger.received((decodeMessage(message) as CommitMessage).endLsn, builder.lastBatch, nowMs());
      }
      const rest = turn.isIdle ? builder.flush() : undefined;
      if (rest !== undefined) await append(rest);
      if (turn.keepaliveLsn !== undefined && !builder.isInTransaction)
        acknowledger.received(turn.keepaliveLsn, builder.lastBatch, nowMs());
    }
  }

  async #next(): Promise<Turn | "open"> {
    this.#isWaiting = true;
    const turn = await this.#turn.promise;
    this.#isWaiting = false;
    this.#turn = Promise.withResolvers();
    if (this.#failure !== undefined) throw this.#failure;
    return turn;
  }

  /** The last change of the log up to message `sequence`: marks say what somebody believed. */
  #findEnd(sequence: number): Position | undefined {
    const before = this.#options.stream.messages.slice(0, sequence);
    return before.map(({ bytes }) => decodeHeader(bytes)).findLast(({ isMark }) => !isMark)?.last;
  }

  #append(batch: Batch, times = 1): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const { name, rules } = this.#options;
    const count = this.#count++;
    const expectedSequence = this.#sequence;
    this.#sequence += times;
    const bytes = encodeBatch(batch, this.#previous);
    this.#previous = batch.last;
    const publication = {
      id: `${name}.${count}`,
      bytes,
      expectedSequence,
      expectedId: rules.chainsById && count > 0 ? `${name}.${count - 1}` : undefined,
      times,
    };
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const stored = (): void => {
      const sequence = expectedSequence + times;
      if (sequence > (this.#stored?.sequence ?? 0)) this.#stored = { sequence, id: publication.id };
      resolve();
    };
    const outstanding: Outstanding = { publication, resolve: stored, reject };
    this.outgoing.push(outstanding);
    this.#pending.add(outstanding);
    promise.catch(
      (error: unknown) => (this.#failure ??= error instanceof LeadEnded ? error : new LeadEnded("refused")),
    );
    return promise;
  }
}

/** How a lead ends in this model; anything else that is thrown is a bug. */
export class LeadEnded extends Error {}
