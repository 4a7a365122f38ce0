import type { LoggedChange } from "@walcast/change-log";
import { backoff } from "@walcast/lifecycle";
import type { Position, Relation } from "@walcast/model";
import { DatabaseUnavailableError } from "@walcast/postgres";
import {
  DatabaseBusyError,
  PolicyFailedError,
  PolicyTimeoutError,
  QueueFullError,
  TableChangedError,
  TooManyConnectionsError,
  type AccessAnswer,
  type AccessCatalog,
  type Visibility,
} from "@walcast/row-security";
import type { Group, Listener, Reader } from "./group.ts";
import type { GatewayMetrics } from "./metrics.ts";
import { isDenial, present, presentDenied, presentHidden, ruleOf, type GuardedMatch, type Ruling } from "./ruling.ts";

export interface ReadersOptions {
  readonly catalog: Pick<AccessCatalog, "known" | "access">;
  readonly visibility: Pick<Visibility, "visible">;
  /** A group of a role has to fall apart: returns its members with the groups that they are in now. */
  readonly split: (group: Group) => ReadonlyMap<Listener, Group>;
  /** The group cannot be served. */
  readonly fail: (group: Group, reason: string) => void;
  /** A reader for whom more waits does not wait here any longer: its channels go on through the log, if they listen. */
  readonly behindLimit?: number;
  readonly metrics: GatewayMetrics;
  readonly signal: AbortSignal;
}

/** Looked at in one go: what came while the last question was with the database. */
const atOnce = 1_000;
const defaultBehindLimit = 50_000;

type ChangeStep = GuardedMatch & {
  readonly tag: "change";
  /**
   * Who alone gets it: they came over from a group that fell apart, and do not hear this one yet. Those who do had the same
   * change as theirs.
   */
  readonly arrivals: Listener[] | undefined;
};
/** From here on the listener hears its group; `undefined`: it has left. */
type HearStep = { readonly tag: "hear"; readonly group: Group; listener: Listener | undefined };
type Step = ChangeStep | HearStep;

/** What to do with a step; `split`: it has to be decided for each of the group's members; `undefined`: nothing. */
type Verdict = Ruling | "hidden" | Denial | Failure | "split" | undefined;
/** The role may not ask. */
type Denial = { readonly tag: "denial"; readonly answer: AccessAnswer };
type Failure = { readonly tag: "failure"; readonly reason: string };

/**
 * Decides what each reader sees of each change (design, "Who may see what"). Where nothing has to be asked it decides at
 * once. Otherwise the changes of this reader wait in line, in order, and whatever gathers while PostgreSQL answers is asked
 * about in one question: the cost grows with readers and batches, and a slow policy delays only those who depend on it.
 *
 * A group of a role falls apart at the first change whose rows have to be asked for. What waited for it goes over with its
 * members, to those alone, and each hears its new group only behind that: the new group may have had the same changes as its
 * own. For that reason a change is taken for those who stand alone before it is taken for roles.
 */
export class Readers {
  readonly #options: ReadersOptions;
  readonly #lines = new Map<string, Line>();

  constructor(options: ReadersOptions) {
    this.#options = options;
  }

  /** The role is refused the change, or that has to be asked first. */
  mayRefuse(role: string, relation: Relation, change: LoggedChange): boolean {
    const answer = this.#options.catalog.known(relation, role);
    return answer === undefined || ruleOf(answer, { change, relation }).tag === "refused";
  }

  take({ group, wants, guarded }: GuardedMatch): void {
    this.#queue({ tag: "change", group, wants, guarded, arrivals: undefined });
  }

  /** Lets the listener hear its group when all that was taken for its reader so far has been decided. */
  hear(group: Group, listener: Listener): void {
    this.#queue({ tag: "hear", group, listener });
  }

  /** The listener has left the group: what waits for it there is not to reach it when it comes back to the same group. */
  unhear(group: Group, listener: Listener): void {
    for (const step of this.#lines.get(readerOf(group).key)?.steps ?? []) {
      if (step.group !== group) continue;
      if (step.tag === "hear") {
        if (step.listener === listener) step.listener = undefined;
        continue;
      }
      // In place: it may be with the database at the moment.
      const at = step.arrivals?.indexOf(listener) ?? -1;
      if (at !== -1) step.arrivals?.splice(at, 1);
    }
  }

  /** The first change that the listener was to get and that waits for a decision. */
  firstUndecided(group: Group, listener: Listener): Position | undefined {
    const steps = this.#lines.get(readerOf(group).key)?.steps ?? [];
    return firstUndecided(steps, { group, listener, waiting: waitingFor(steps, group) });
  }

  /** Readers for whom something waits. */
  get waiting(): ReadonlySet<string> {
    return new Set(this.#lines.keys());
  }

  /** Resolves when nobody waits any more. */
  async idle(): Promise<void> {
    while (this.#lines.size > 0) await Promise.all([...this.#lines.values()].map(({ done }) => done.promise));
  }

  /** Forgets what waits for the reader. */
  abandon(key: string): void {
    const line = this.#lines.get(key);
    line?.giveUp();
    this.#lines.delete(key);
  }

  #queue(step: Step): void {
    const { metrics, behindLimit = defaultBehindLimit } = this.#options;
    const reader = readerOf(step.group);
    const known = this.#lines.get(reader.key);
    if (known === undefined && this.#doNow(step, reader)) return;
    const line = known ?? new Line(reader);
    line.steps.push(step);
    metrics.guarded.inc();
    if (known === undefined) {
      this.#lines.set(reader.key, line);
      void this.#serve(line);
    } else if (line.steps.length > behindLimit) this.#giveUp(line);
  }

  /** True when it was decided without asking anybody. */
  #doNow(step: Step, reader: Reader): boolean {
    if (step.tag === "hear") {
      step.listener?.hear(step.group);
      return true;
    }
    const { guarded } = step;
    const answer = this.#options.catalog.known(guarded.relation, reader.principal.role);
    if (answer === undefined) return false;
    const ruling = guarded.ruling(answer);
    if (ruling.isForAllRows) present(step, ruling, step.arrivals);
    else if (reader.isAlone) return false;
    else this.#move(step.group, [step]);
    return true;
  }

  /** Lets a group fall apart: its steps go over to where its members are now, in order. */
  #move(group: Group, steps: readonly Step[]): void {
    const waiting = waitingFor(steps, group);
    const targets = this.#options.split(group);
    /** Those to whom the next change is due, by where they are. */
    const due = new Map<Group, Listener[]>();
    for (const target of new Set(targets.values())) {
      due.set(
        target,
        [...targets]
          .filter(([listener, its]) => its === target && !waiting.has(listener))
          .map(([listener]) => listener),
      );
    }
    for (const step of steps) {
      if (step.tag === "hear") {
        const { listener } = step;
        const target = listener && targets.get(listener);
        if (listener !== undefined && target !== undefined) due.set(target, [...(due.get(target) ?? []), listener]);
        continue;
      }
      for (const [target, arrivals] of due) {
        if (arrivals.length === 0) continue;
        const wants = step.wants.flatMap(({ view: { dataKey }, ids }) => {
          const view = target.views.get(dataKey);
          return view === undefined ? [] : [{ view, ids }];
        });
        this.#queue({ tag: "change", group: target, wants, guarded: step.guarded, arrivals });
      }
    }
    for (const [listener, target] of targets) this.hear(target, listener);
  }

  async #serve(line: Line): Promise<void> {
    const { signal, metrics } = this.#options;
    await Promise.resolve(); // the rest of the batch at hand comes along
    for (let failures = 0; line.steps.length > 0 && !signal.aborted && !line.isGivenUp;) {
      const steps = line.steps.slice(0, atOnce);
      try {
        const verdicts = await this.#judge(line, steps);
        // Others' questions go first: PostgreSQL works on them meanwhile.
        await new Promise(setImmediate);
        if (signal.aborted || line.isGivenUp) break;
        this.#carryOut(line, steps, verdicts);
        failures = 0;
      } catch (error) {
        if (signal.aborted || line.isGivenUp) break;
        if (isPassing(error)) {
          await backoff(++failures, signal, { maxMs: 2_000 }); // those who depend on it fall behind, and nobody else
          continue;
        }
        const reason = error instanceof Error ? error.message : String(error);
        this.#carryOut(
          line,
          steps,
          steps.map((): Failure => ({ tag: "failure", reason })),
        );
      }
    }
    metrics.guarded.dec(line.steps.length);
    if (this.#lines.get(line.reader.key) === line) this.#lines.delete(line.reader.key);
    line.done.resolve();
  }

  /** Does what was decided, and takes the steps off the line. */
  #carryOut(line: Line, steps: readonly Step[], verdicts: readonly Verdict[]): void {
    const moving = new Map<Group, Step[]>();
    for (const [i, step] of steps.entries()) {
      const verdict = verdicts[i];
      if (verdict === "split" && !moving.has(step.group)) moving.set(step.group, []);
      const itsMoving = moving.size === 0 ? undefined : moving.get(step.group);
      if (itsMoving !== undefined) itsMoving.push(step);
      else if (step.tag === "hear") step.listener?.hear(step.group);
      else this.#do(step, verdict);
    }
    if (line.isGivenUp) return;
    const before = line.steps.length;
    line.steps.splice(0, steps.length);
    if (moving.size > 0) {
      line.steps = line.steps.filter((step) => {
        const itsMoving = moving.get(step.group);
        itsMoving?.push(step);
        return itsMoving === undefined;
      });
    }
    this.#options.metrics.guarded.dec(before - line.steps.length);
    for (const [group, its] of moving) this.#move(group, its);
  }

  #do(step: ChangeStep, verdict: Verdict): void {
    if (verdict === undefined || verdict === "split") return;
    if (verdict === "hidden") presentHidden(step, step.arrivals);
    else if (verdict.tag === "ruling") present(step, verdict, step.arrivals);
    else if (verdict.tag === "denial") presentDenied(step, verdict.answer, step.arrivals);
    else this.#options.fail(step.group, verdict.reason);
  }

  /** Throws what passes by itself. */
  async #judge({ reader, stop }: Line, steps: readonly Step[]): Promise<Verdict[]> {
    const { catalog } = this.#options;
    const verdicts = steps.map((): Verdict => undefined);
    const questions = new Map<Relation, Question>();
    let question: Question | undefined;
    for (const [i, step] of steps.entries()) {
      if (step.tag === "hear") continue;
      const { guarded } = step;
      const { relation } = guarded;
      if (question?.relation !== relation) {
        question = questions.get(relation);
        if (question === undefined) {
          const answer = await catalog.access(relation, reader.principal.role);
          question = { relation, answer, places: [], rulings: [], keys: [], xids: new Set() };
          questions.set(relation, question);
        }
      }
      const ruling = guarded.ruling(question.answer);
      if (ruling.isForAllRows) verdicts[i] = ruling;
      else if (!reader.isAlone) verdicts[i] = "split";
      else {
        question.places.push(i);
        question.rulings.push(ruling);
        question.keys.push(guarded.keyJson(question.answer));
        question.xids.add(guarded.change.xid);
      }
    }
    const asked = [...questions.values()].filter(({ places }) => places.length > 0);
    await Promise.all(asked.map((one) => this.#ask({ reader, stop }, one, verdicts)));
    return verdicts;
  }

  async #ask(
    { reader: { principal }, stop: { signal } }: Pick<Line, "reader" | "stop">,
    { relation, answer, places, rulings, keys, xids }: Question,
    verdicts: Verdict[],
  ): Promise<void> {
    const settle = (verdict: Verdict): void => {
      for (const i of places) verdicts[i] = verdict;
    };
    try {
      const visible = await this.#options.visibility.visible({ relation, principal, keys, xids }, { signal });
      for (const [n, i] of places.entries()) verdicts[i] = visible[n] === true ? rulings[n] : "hidden";
    } catch (error) {
      if (isPassing(error) || signal.aborted) throw error;
      if (error instanceof TableChangedError) return;
      if (isDenial(error)) return settle({ tag: "denial", answer });
      if (!isFinal(error)) throw error;
      settle({ tag: "failure", reason: error.message });
    }
  }

  /** Nothing is lost: those who wait read what they are still to get from the log, as fast as their policies let them. */
  #giveUp(line: Line): void {
    this.abandon(line.reader.key);
    const late: (() => void)[] = [];
    for (const group of new Set(line.steps.map((step) => step.group))) {
      const waiting = waitingFor(line.steps, group);
      for (const listener of group.listeners) {
        const from = firstUndecided(line.steps, { group, listener, waiting });
        late.push(from === undefined ? () => listener.hear(group) : () => listener.fallBehind(from));
      }
    }
    for (const act of late) act();
  }
}

/** What is asked about the changes of one table. */
interface Question {
  readonly relation: Relation;
  readonly answer: AccessAnswer;
  /** Of the steps that depend on it. */
  readonly places: number[];
  readonly rulings: Ruling[];
  readonly keys: string[];
  readonly xids: Set<number>;
}

/** What waits for one reader. */
class Line {
  readonly reader: Reader;
  steps: Step[] = [];
  /** Nobody waits for it any more. */
  isGivenUp = false;
  /** Of its own: a listener more on a signal that all share takes a look at all of them (measured: 2.5 % of the CPU with 1,000 readers). */
  readonly stop = new AbortController();
  readonly done = Promise.withResolvers<void>();

  constructor(reader: Reader) {
    this.reader = reader;
  }

  giveUp(): void {
    this.isGivenUp = true;
    this.stop.abort();
  }
}

function readerOf({ reader }: Group): Reader {
  if (reader === undefined) throw new Error("a group without a reader is not guarded");
  return reader;
}

/** Those who do not hear the group yet. */
const waitingFor = (steps: readonly Step[], group: Group): ReadonlySet<Listener> =>
  new Set(
    steps.flatMap((step) => (step.tag === "hear" && step.group === group && step.listener ? [step.listener] : [])),
  );

interface Whose {
  readonly group: Group;
  readonly listener: Listener;
  readonly waiting: ReadonlySet<Listener>;
}

function firstUndecided(steps: readonly Step[], { group, listener, waiting }: Whose): Position | undefined {
  let hears = !waiting.has(listener);
  for (const step of steps) {
    if (step.group !== group) continue;
    if (step.tag === "hear") hears ||= step.listener === listener;
    else if (step.arrivals?.includes(listener) ?? hears) return step.guarded.change.position;
  }
  return undefined;
}

/** Of this table alone; what passes was waited for by then. */
const isFinal = (error: unknown): error is Error =>
  error instanceof PolicyFailedError || error instanceof PolicyTimeoutError || error instanceof DatabaseBusyError;

/** Goes away by itself: it is asked again. */
const isPassing = (error: unknown): boolean =>
  error instanceof DatabaseUnavailableError ||
  error instanceof QueueFullError ||
  error instanceof TooManyConnectionsError;
