import { setTimeout as pause } from "node:timers/promises";
import type { NatsChangeLog } from "@walcast/change-log";
import { waitUntil } from "@walcast/testkit";
import type { ChaosService } from "./chaos-service.ts";
import { startChaosSystem, type ChaosSystem, type NatsKind } from "./chaos-system.ts";
import { faults, lostTail, type Fault, type Victim } from "./faults.ts";
import { compareWithTables } from "./ledger.ts";
import { auditStream, connectReader, Reading, sequencesOf } from "./log-audit.ts";
import { seeded, type Random } from "./random.ts";
import { medianOf, RoleWatch, worstOf, type Takeover } from "./takeovers.ts";
import { endMark, readTables, runWorkload } from "./workload.ts";

export interface ChaosOptions {
  readonly scenario: "single" | "cluster" | "lost-tail";
  readonly seconds: number;
  readonly seed: number;
}

/** What a run found, printed as one line of JSON. */
export type ChaosReport = Readonly<Record<string, unknown>> & {
  readonly lost: number;
  readonly repeated: number;
  readonly out_of_order: number;
  readonly invented: number;
  readonly problems: readonly string[];
};

/** How long the log may take to hold everything once nothing is broken any more. */
const catchUpLimitMs = 90_000;

export async function runChaos({ scenario, seconds, seed }: ChaosOptions): Promise<ChaosReport> {
  const nats: NatsKind = scenario === "cluster" ? "cluster" : "single";
  // Longer than the oldest tail that is lost; elsewhere a killed server's page cache loses nothing.
  const syncIntervalMs = scenario === "lost-tail" ? 15_000 : 1_000;
  const system = await startChaosSystem({ nats, syncIntervalMs });
  const timeline = new Timeline();
  try {
    const log = await connectReader(system.natsUrl, system.source);
    const live = new Reading();
    const [endOfWriting, endOfWatching] = [new AbortController(), new AbortController()];
    const watch = new RoleWatch(system.ingesters);
    const watching = Promise.all([watch.run(endOfWatching.signal), live.run(log, endOfWatching.signal)]);
    const workload = runWorkload({
      url: system.postgres.url,
      writers: 4,
      rowsPerSecond: 400,
      seed,
      signal: endOfWriting.signal,
    });
    const choices = scenario === "lost-tail" ? [...faults.filter(({ victim }) => victim !== "nats"), lostTail] : faults;
    const scheduler = new Scheduler({ system, watch, log, live, timeline, random: seeded(seed), faults: choices });
    await scheduler.run(seconds * 1000);
    endOfWriting.abort();
    const counts = await workload;
    const calmMs = performance.now();
    await system.withSql((client) => client.query(`INSERT INTO ${endMark} VALUES (1)`));
    const hasCaughtUp = await waitUntil(() => live.hasEnd, {
      what: "the log to catch up",
      timeoutMs: catchUpLimitMs,
    }).catch(() => false);
    const catchUpMs = Math.round(performance.now() - calmMs);
    endOfWatching.abort();
    await watching;

    const problems = [...timeline.problems, ...live.complaints.map((text) => `live reader: ${text}`)];
    if (!hasCaughtUp) problems.push(`hang: the log did not catch up within ${catchUpLimitMs} ms`);
    const again = new Reading();
    await again
      .run(log, AbortSignal.timeout(60_000))
      .catch((error: unknown) => problems.push(`a later reader did not come to the end: ${String(error)}`));
    problems.push(...again.complaints.map((text) => `reader: ${text}`));
    const stream = await auditStream(log, system.source).catch((error: unknown) => {
      problems.push(`the stream cannot be looked at: ${String(error)}`);
      return { positions: [], messages: 0, complaints: [] };
    });
    problems.push(...stream.complaints.map((text) => `stream: ${text}`));
    await log.close();
    if (live.positions.join() !== again.positions.join())
      problems.push(
        `the live reader saw ${live.positions.length} changes, a later one ${again.positions.length}, or others`,
      );
    if (stream.positions.join() !== again.positions.join())
      problems.push(
        `the stream holds ${stream.positions.length} changes, its reader saw ${again.positions.length}, or others`,
      );
    const rows = await system.withSql(readTables);
    const { committed, lost, repeated, outOfOrder, invented, examples } = compareWithTables(again.changes, rows);
    problems.push(...examples);
    return {
      scenario,
      seed,
      seconds,
      committed_changes: committed,
      lost,
      repeated,
      out_of_order: outOfOrder,
      invented,
      transactions: counts.transactions,
      rolled_back: counts.rolledBack,
      in_doubt: counts.inDoubt,
      stream_messages: stream.messages,
      catch_up_ms: catchUpMs,
      faults: Object.fromEntries(scheduler.counts),
      ...summarize(scheduler.takeovers),
      problems,
      ...(problems.length > 0
        ? { timeline: timeline.lines, ingesters: system.ingesters.map(tailOf), nats: system.nats.map(tailOf) }
        : {}),
    };
  } finally {
    await system.stop();
  }
}

const tailOf = ({ lines }: Pick<ChaosService, "lines">): readonly string[] => lines.slice(-400);

function summarize(takeovers: readonly Takeover[]): Record<string, unknown> {
  const alone = takeovers.filter(({ isAlone }) => isAlone);
  const kinds = [...new Set(alone.map(({ kind }) => kind))];
  const figures = (of: readonly Takeover[]): Record<string, unknown> => {
    const times = of.map(({ ms }) => ms);
    return { count: times.length, median_ms: medianOf(times), worst_ms: worstOf(times) };
  };
  return {
    takeovers_all: figures(takeovers),
    takeovers_alone: Object.fromEntries(
      kinds.map((kind) => [kind, figures(alone.filter((takeover) => takeover.kind === kind))]),
    ),
  };
}

/** What happened when, for whoever has to find out why. */
class Timeline {
  readonly #startMs = performance.now();
  readonly lines: string[] = [];
  readonly problems: string[] = [];

  note(what: string): void {
    this.lines.push(`${((performance.now() - this.#startMs) / 1000).toFixed(2)} ${new Date().toISOString()} ${what}`);
  }

  problem(what: string): void {
    this.note(what);
    this.problems.push(what);
  }
}

/** Breaks things at random moments, some of them at the same time, and lets no two faults meet on one victim. */
class Scheduler {
  readonly counts = new Map<string, number>();
  readonly takeovers: Takeover[] = [];
  readonly #options: SchedulerOptions;
  readonly #busy = new Set<Victim | ChaosService>();
  #running = 0;
  /** Grows with every fault that begins: whoever measures sees whether it was alone. */
  #begun = 0;

  constructor(options: SchedulerOptions) {
    this.#options = options;
  }

  /** Resolves when the time is over and everything is whole again. */
  async run(forMs: number): Promise<void> {
    const { random, system, timeline } = this.#options;
    const endMs = performance.now() + forMs;
    const strikes: Promise<void>[] = [];
    while (performance.now() < endMs) {
      // Mostly one after the other, so that takeovers are measured; sometimes close together.
      await pause(random.chance(0.3) ? random.between(50, 800) : random.between(1_500, 6_000));
      for (const ingester of system.ingesters) {
        if (!ingester.hasDied) continue;
        timeline.problem(`${ingester.name} ended by itself: ${ingester.lines.slice(-5).join(" | ")}`);
        ingester.startAgain();
      }
      const strike = this.#begin();
      if (strike !== undefined) strikes.push(strike);
    }
    await Promise.all(strikes);
  }

  #begin(): Promise<void> | undefined {
    const { random, faults, watch, system, timeline } = this.#options;
    const fault = random.pick(faults.map((value) => ({ value, weight: value.weight })));
    const { leader } = watch;
    const ingester = fault?.victim === "standby" && leader !== undefined ? watch.other(leader) : leader;
    if (fault === undefined || ingester === undefined) return undefined;
    const isServer = fault.victim === "postgres" || fault.victim === "nats";
    const victim: Victim | ChaosService = isServer ? fault.victim : ingester;
    const victimName = isServer ? fault.victim : ingester.name;
    if (this.#busy.has(victim) || this.#running >= 3) return undefined;
    this.#busy.add(victim);
    this.#running++;
    this.#begun++;
    this.#count(fault.kind, 1);
    timeline.note(`${fault.kind}: ${victimName}`);
    const over = new AbortController();
    const lastSequence = async (): Promise<number> => (await sequencesOf(this.#options.log, system.source)).last_seq;
    const count = (what: string, times: number): void => this.#count(what, times);
    const measured = fault.endsLead && this.#measure(fault, ingester, over.signal);
    return (async () => {
      try {
        await fault.strike({ system, random, service: ingester, lastSequence, count });
        timeline.note(`${fault.kind}: over`);
      } catch (error) {
        timeline.problem(`${fault.kind}: ${String(error)}`);
      } finally {
        over.abort();
        this.#busy.delete(victim);
        this.#running--;
      }
      await measured;
    })();
  }

  #count(what: string, times: number): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + times);
  }

  /** From the blow to the first batch that another leader appended. */
  async #measure({ kind }: Fault, struck: ChaosService, over: AbortSignal): Promise<void> {
    const { watch, live, timeline } = this.#options;
    const startMs = performance.now();
    const begun = this.#begun;
    const wasAlone = this.#running === 1;
    const other = watch.other(struck);
    const leads = (): boolean => other !== undefined && watch.isLeader(other);
    const goesOn = async (): Promise<"taken over" | "led on" | false> => {
      if (over.aborted && watch.isLeader(struck)) return "led on";
      if (!leads()) return false;
      const leadMs = performance.now();
      const hears = (): boolean => live.lastBatchMs > leadMs || !leads();
      await waitUntil(hears, { what: "its first batch", timeoutMs: 30_000, intervalMs: 5 });
      return leads() && "taken over";
    };
    const outcome = await waitUntil(goesOn, { what: "a leader", timeoutMs: 60_000, intervalMs: 5 }).catch(String);
    if (outcome !== "taken over") {
      timeline.note(`${kind}: nobody took over: ${outcome}`);
      return;
    }
    const ms = Math.round(live.lastBatchMs - startMs);
    timeline.note(`${kind}: taken over after ${ms} ms`);
    this.takeovers.push({ kind, ms, isAlone: wasAlone && begun === this.#begun });
  }
}

interface SchedulerOptions {
  readonly system: ChaosSystem;
  readonly watch: RoleWatch;
  readonly log: NatsChangeLog;
  readonly live: Reading;
  readonly timeline: Timeline;
  readonly random: Random;
  readonly faults: readonly Fault[];
}
