import { setTimeout as pause } from "node:timers/promises";
import type { ChaosService } from "./chaos-service.ts";

const askEveryMs = 25;

/** Who leads, asked of each ingester again and again. */
export class RoleWatch {
  readonly #ingesters: readonly ChaosService[];
  readonly #roles = new Map<ChaosService, string | undefined>();

  constructor(ingesters: readonly ChaosService[]) {
    this.#ingesters = ingesters;
  }

  async run(signal: AbortSignal): Promise<void> {
    const watch = async (ingester: ChaosService): Promise<void> => {
      while (!signal.aborted) {
        this.#roles.set(ingester, await ingester.role());
        await pause(askEveryMs);
      }
    };
    await Promise.all(this.#ingesters.map(watch));
  }

  get leader(): ChaosService | undefined {
    return this.#ingesters.find((ingester) => this.#roles.get(ingester) === "leader");
  }

  other(than: ChaosService): ChaosService | undefined {
    return this.#ingesters.find((ingester) => ingester !== than);
  }

  isLeader(ingester: ChaosService): boolean {
    return this.#roles.get(ingester) === "leader";
  }
}

export interface Takeover {
  readonly kind: string;
  readonly ms: number;
  /** Nothing else was broken meanwhile. */
  readonly isAlone: boolean;
}

export const medianOf = (values: readonly number[]): number | null =>
  values.length === 0 ? null : Math.round(values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0);
export const worstOf = (values: readonly number[]): number | null =>
  values.length === 0 ? null : Math.round(Math.max(...values));
