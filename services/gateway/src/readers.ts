import type { LoggedChange } from "@walcast/change-log";
import { backoff } from "@walcast/lifecycle";
import type { Position, Relation } from "@walcast/model";
import { DatabaseUnavailableError } from "@walcast/postgres";
import {
  AccessDeniedError,
  PolicyFailedError,
  PolicyTimeoutError,
  QueueFullError,
  RoleNotGrantedError,
  RoleUnknownError,
  ruleFor,
  TableChangedError,
  TooManyConnectionsError,
  unauthorized,
  type AccessAnswer,
  type AccessCatalog,
  type ChangeRule,
  type RowKind,
  type Visibility,
} from "@walcast/row-security";
import { RecordReader, shapeOf } from "@walcast/subscriptions";
import type { CutRule, Emit, FanOut, Match } from "./fan-out.ts";
import type { Group, Reader } from "./group.ts";
import type { GatewayMetrics } from "./metrics.ts";

/** A change on its way to a group whose rights have to be looked at. */
export interface GuardedMatch extends Match {
  readonly relation: Relation;
  readonly fanOut: FanOut;
  readonly emit: Emit;
}

export interface ReadersOptions {
  readonly catalog: Pick<AccessCatalog, "known" | "access">;
  readonly visibility: Pick<Visibility, "visible">;
  /** A group of a role has to fall apart: returns the groups that its members are in now. */
  readonly split: (group: Group) => readonly Group[];
  /** The group cannot be served. */
  readonly fail: (group: Group, reason: string) => void;
  readonly metrics: GatewayMetrics;
  readonly signal: AbortSignal;
}

/** Looked at in one go: what came while the last question was with the database. */
const atOnce = 1_000;
/** A reader that is this far behind is given up: its clients come back and resume. */
const behindLimit = 50_000;

type Step = { readonly match: GuardedMatch } | { readonly act: () => void };

/**
 * Decides what each reader sees of each change (design, "Who may see what"). Where nothing has to be asked it decides at
 * once. Otherwise the changes of this reader wait in line, in order, and whatever gathers while PostgreSQL answers is asked
 * about in one question: the cost grows with readers and batches, and a slow policy delays only those who depend on it.
 */
export class Readers {
  readonly #options: ReadersOptions;
  readonly #lines = new Map<string, Line>();

  constructor(options: ReadersOptions) {
    this.#options = options;
  }

  take(match: GuardedMatch): void {
    const { reader } = match.view.group;
    if (reader === undefined) throw new Error("a group without a reader is not guarded");
    const line = this.#lines.get(reader.key);
    if (line === undefined && this.#decideNow(match, reader)) return;
    this.#join(reader, { match }, line);
  }

  /** Acts when all that was taken for this reader so far has been decided. */
  whenThrough(reader: Reader, act: () => void): void {
    const line = this.#lines.get(reader.key);
    if (line === undefined) act();
    else this.#join(reader, { act }, line);
  }

  /** The first change that waits for a decision. */
  firstUndecided(reader: Reader): Position | undefined {
    for (const step of this.#lines.get(reader.key)?.steps ?? []) if ("match" in step) return step.match.change.position;
    return undefined;
  }

  /** Resolves when nobody waits any more. */
  async idle(): Promise<void> {
    while (this.#lines.size > 0) await Promise.all([...this.#lines.values()].map(({ done }) => done.promise));
  }

  /** True when the change was let through, or kept back, without asking anybody. */
  #decideNow(match: GuardedMatch, reader: Reader): boolean {
    const answer = this.#options.catalog.known(match.relation, reader.principal.role);
    if (answer === undefined) return false;
    const rule = ruleOf(answer, match);
    if (rule.tag === "delivered" && rule.rows === "visible") {
      if (reader.isAlone) return false;
      this.#splitNow(match);
      return true;
    }
    present(match, rule);
    return true;
  }

  #splitNow(match: GuardedMatch): void {
    for (const group of this.#options.split(match.view.group)) {
      const view = group.views.get(match.view.dataKey);
      if (view !== undefined) this.take({ ...match, view });
    }
  }

  #join(reader: Reader, step: Step, known: Line | undefined): void {
    const line = known ?? new Line(reader);
    line.steps.push(step);
    this.#options.metrics.guarded.inc();
    if (known !== undefined) {
      if (line.steps.length > behindLimit) this.#giveUp(line);
      return;
    }
    this.#lines.set(reader.key, line);
    void this.#serve(line);
  }

  async #serve(line: Line): Promise<void> {
    const { signal, metrics } = this.#options;
    for (let failures = 0; line.steps.length > 0 && !signal.aborted;) {
      const steps = line.steps.slice(0, atOnce);
      try {
        const verdicts = await this.#judge(line.reader, steps);
        if (line.isGivenUp) break;
        failures = 0;
        const groups = new Set<Group>();
        for (const [i, step] of steps.entries()) {
          if ("act" in step) step.act();
          else if (verdicts[i] === "split") groups.add(step.match.view.group);
          else if (groups.has(step.match.view.group)) continue;
          else verdicts[i]?.();
        }
        this.#shift(line, steps, groups);
      } catch (error) {
        if (signal.aborted || line.isGivenUp) break;
        if (!isPassing(error)) {
          this.#failAll(steps, error instanceof Error ? error.message : String(error));
          this.#shift(line, steps, new Set());
        }
        await backoff(++failures, signal, { maxMs: 2_000 }); // those who depend on it fall behind, and nobody else
      }
    }
    metrics.guarded.dec(line.steps.length);
    for (const step of line.steps) if ("act" in step) step.act();
    if (this.#lines.get(line.reader.key) === line) this.#lines.delete(line.reader.key);
    line.done.resolve();
  }

  /** Takes off what is done; what belongs to groups that fall apart goes over to where their members are now, in order. */
  #shift(line: Line, steps: readonly Step[], groups: ReadonlySet<Group>): void {
    const rest = line.steps.slice(steps.length);
    const isMoving = (step: Step): boolean => "match" in step && groups.has(step.match.view.group);
    const moving = groups.size === 0 ? [] : [...steps, ...rest].filter(isMoving);
    line.steps = groups.size === 0 ? rest : rest.filter((step) => !isMoving(step));
    this.#options.metrics.guarded.dec(steps.length + rest.length - line.steps.length);
    const targets = new Map([...groups].map((group) => [group, this.#options.split(group)]));
    for (const step of moving) {
      if (!("match" in step)) continue;
      const { match } = step;
      for (const group of targets.get(match.view.group) ?? []) {
        const view = group.views.get(match.view.dataKey);
        if (view !== undefined) this.take({ ...match, view });
      }
    }
  }

  /** For each step what to do with it. Throws what passes by itself. */
  async #judge(reader: Reader, steps: readonly Step[]): Promise<((() => void) | "split" | undefined)[]> {
    const { catalog, visibility, signal, fail } = this.#options;
    const verdicts: ((() => void) | "split" | undefined)[] = [];
    const questions = new Map<Relation, { readonly at: number[]; readonly keys: string[]; answer: AccessAnswer }>();
    for (const [i, step] of steps.entries()) {
      if (!("match" in step)) continue;
      const { match } = step;
      const { relation, change } = match;
      const { role } = reader.principal;
      const answer = catalog.known(relation, role) ?? (await catalog.access(relation, role));
      const rule = ruleOf(answer, match);
      if (rule.tag === "refused" || rule.rows === "all") verdicts[i] = () => present(match, rule);
      else if (!reader.isAlone) verdicts[i] = "split";
      else {
        const question = questions.get(relation) ?? { at: [], keys: [], answer };
        questions.set(relation, question);
        question.at.push(i);
        question.keys.push(keyOf(change, relation, answer));
      }
    }
    await Promise.all(
      [...questions].map(async ([relation, { at, keys, answer }]) => {
        const settle = (verdict: (match: GuardedMatch, n: number) => (() => void) | undefined): void => {
          for (const [n, i] of at.entries()) {
            const step = steps[i];
            if (step !== undefined && "match" in step) verdicts[i] = verdict(step.match, n);
          }
        };
        try {
          const visible = await visibility.visible({ relation, principal: reader.principal, keys }, { signal });
          settle((match, n) => (visible[n] === true ? () => present(match, ruleOf(answer, match)) : undefined));
        } catch (error) {
          if (isPassing(error) || signal.aborted) throw error;
          if (error instanceof TableChangedError) return settle(() => undefined);
          if (isDenial(error)) return settle((match) => () => present(match, { tag: "refused", error: unauthorized }));
          if (!(error instanceof PolicyFailedError || error instanceof PolicyTimeoutError)) throw error;
          const { message } = error;
          settle((match) => () => fail(match.view.group, message));
        }
      }),
    );
    return verdicts;
  }

  #giveUp(line: Line): void {
    line.isGivenUp = true;
    this.#lines.delete(line.reader.key);
    this.#failAll(line.steps, "the policies are too slow for the changes");
  }

  #failAll(steps: readonly Step[], reason: string): void {
    const groups = new Set(steps.flatMap((step) => ("match" in step ? [step.match.view.group] : [])));
    for (const group of groups) this.#options.fail(group, reason);
  }
}

/** The changes that wait for one reader. */
class Line {
  readonly reader: Reader;
  steps: Step[] = [];
  /** Nobody waits for it any more: its clients were sent away to come back. */
  isGivenUp = false;
  readonly done = Promise.withResolvers<void>();

  constructor(reader: Reader) {
    this.reader = reader;
  }
}

/** Messages and marks concern no table: nobody subscribes to them. */
const rowKinds = new Set<string>(["insert", "update", "delete", "truncate"]);

/** A filter that looks at what may not be read would tell of it. */
function ruleOf(answer: AccessAnswer, { change, relation, view }: GuardedMatch): ChangeRule {
  const refused = { tag: "refused", error: unauthorized } as const;
  if (!rowKinds.has(change.kind)) return refused;
  const rule = ruleFor(answer, change.kind as RowKind, relation);
  if (rule.tag === "refused" || answer.tag !== "access") return rule;
  const { selectable } = answer.access;
  const isReadable = (column: string): boolean =>
    selectable.has(column) || selectable.has(column.split("->")[0]?.trim() ?? "");
  return view.filtered.every(isReadable) ? rule : refused;
}

function present(match: GuardedMatch, rule: ChangeRule): void {
  const { fanOut, relation, emit } = match;
  const inOrder = (names: ReadonlySet<string> | undefined): readonly string[] | undefined =>
    names && relation.columns.map(({ name }) => name).filter((name) => names.has(name));
  const cut: CutRule =
    rule.tag === "refused"
      ? rule
      : { tag: "delivered", columns: inOrder(rule.columns), oldColumns: inOrder(rule.oldColumns) };
  fanOut.ruled(match, cut, emit);
}

/** The primary key as JSON, cut out of the row. */
function keyOf({ record }: LoggedChange, { columns }: Relation, answer: AccessAnswer): string {
  if (record === undefined || answer.tag !== "access") return "{}";
  const shape = shapeOf(columns);
  const indexes = answer.access.facts.primaryKey.flatMap(({ name }) => shape.byName.get(name)?.index ?? []);
  return new RecordReader(record, shape).project(indexes).toString();
}

/** Goes away by itself: it is asked again. */
const isPassing = (error: unknown): boolean =>
  error instanceof DatabaseUnavailableError ||
  error instanceof QueueFullError ||
  error instanceof TooManyConnectionsError;

const isDenial = (error: unknown): boolean =>
  error instanceof AccessDeniedError || error instanceof RoleUnknownError || error instanceof RoleNotGrantedError;
