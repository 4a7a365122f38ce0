import { setTimeout as pause } from "node:timers/promises";
import type { ChaosService } from "../chaos/chaos-service.ts";
import type { Fault, Victim } from "../chaos/faults.ts";
import type { Random } from "../chaos/random.ts";
import type { TortureSystem } from "./torture-system.ts";

/** What happens to clients and their connections. */
export interface ClientFault {
  readonly kind: string;
  readonly victim: "clients";
  readonly weight: number;
  readonly strike: (system: TortureSystem, random: Random) => Promise<void>;
}

export type TortureFault = Fault | ClientFault;

/** Half of the connections, some, or one here and there. */
export const cutClients: ClientFault = {
  kind: "cut clients",
  victim: "clients",
  weight: 14,
  async strike({ balancers }, random) {
    const share = random.pick([0.02, 0.1, 0.5].map((value) => ({ value, weight: 1 }))) ?? 0;
    for (const balancer of balancers) balancer.cut(() => random.chance(share));
    await Promise.resolve();
  },
};

/** Those behind the second balancer are kept away. */
export const keepAway = (fromMs: number, toMs: number): ClientFault => ({
  kind: "keep clients away",
  victim: "clients",
  weight: 6,
  async strike({ balancers: [, balancer] }, random) {
    balancer?.shut();
    await pause(random.between(fromMs, toMs));
    balancer?.open();
  },
});

export interface FaultScheduleOptions {
  readonly system: TortureSystem;
  readonly random: Random;
  readonly faults: readonly TortureFault[];
  readonly note: (what: string) => void;
  readonly problem: (what: string) => void;
}

/** Breaks things at random moments, at most three at a time, and lets no two faults meet on one victim. */
export class FaultSchedule {
  readonly counts = new Map<string, number>();
  readonly #options: FaultScheduleOptions;
  readonly #busy = new Set<ChaosService | Victim | "clients">();

  constructor(options: FaultScheduleOptions) {
    this.#options = options;
  }

  /** Resolves when the time is over and everything is whole again. */
  async run(forMs: number): Promise<void> {
    const { random, system, problem } = this.#options;
    const endMs = performance.now() + forMs;
    const strikes: Promise<void>[] = [];
    while (performance.now() < endMs) {
      await pause(random.chance(0.3) ? random.between(50, 800) : random.between(1_000, 5_000));
      for (const service of [...system.chaos.ingesters, ...system.gateways]) {
        if (!service.hasDied) continue;
        problem(`${service.name} ended by itself: ${service.lines.slice(-5).join(" | ")}`);
        service.startAgain();
      }
      strikes.push(this.#strike());
    }
    await Promise.all(strikes);
  }

  async #strike(): Promise<void> {
    const { random, faults, system, note, problem } = this.#options;
    const fault = random.pick(faults.map((value) => ({ value, weight: value.weight })));
    if (fault === undefined || this.#busy.size >= 3) return;
    const service = fault.victim === "clients" ? undefined : await this.#chosen(fault.victim);
    const isServer = fault.victim === "postgres" || fault.victim === "nats" || fault.victim === "clients";
    const victim = isServer ? fault.victim : service;
    if (victim === undefined || this.#busy.has(victim)) return;
    this.#busy.add(victim);
    this.counts.set(fault.kind, (this.counts.get(fault.kind) ?? 0) + 1);
    note(`${fault.kind}: ${isServer ? "" : service?.name}`);
    try {
      if (fault.victim === "clients") await fault.strike(system, random);
      else if (service !== undefined) await fault.strike({ system: system.chaos, random, service, ...unused });
      note(`${fault.kind}: over`);
    } catch (error) {
      problem(`${fault.kind}: ${String(error)}`);
    } finally {
      this.#busy.delete(victim);
    }
  }

  async #chosen(victim: Victim): Promise<ChaosService | undefined> {
    const { random, system } = this.#options;
    const { ingesters } = system.chaos;
    if (victim === "gateway") return system.gateways[random.integer(0, system.gateways.length - 1)];
    const roles = await Promise.all(ingesters.map((ingester) => ingester.role()));
    const leader = ingesters.find((_, i) => roles[i] === "leader");
    return victim === "standby" ? ingesters.find((_, i) => roles[i] === "standby") : leader;
  }
}

/** What only faults of the log itself ask for. */
const unused = { lastSequence: () => Promise.resolve(0), count: () => undefined };
