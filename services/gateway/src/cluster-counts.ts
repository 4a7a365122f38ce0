import { sleep } from "@walcast/lifecycle";
import { noCounts, type Counts } from "./limits.ts";

/** Tells what one gateway counts, and resolves with the sum of what the others told lately. */
export type ExchangeCounts = (counts: Counts) => Promise<Counts>;

export interface ClusterCountsOptions {
  readonly exchange: ExchangeCounts;
  readonly counts: () => Counts;
}

const everyMs = 1_000;

/**
 * What all other gateways count, for limits that hold for all of them together. Told and asked once a second, whatever the
 * number of clients and messages; while they cannot be asked each gateway counts alone.
 */
export class ClusterCounts {
  readonly #options: ClusterCountsOptions;
  #others: Counts = noCounts;

  constructor(options: ClusterCountsOptions) {
    this.#options = options;
  }

  get others(): Counts {
    return this.#others;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { exchange, counts } = this.#options;
    while (!signal.aborted) {
      this.#others = await exchange(counts()).catch(() => noCounts); // what is away is told by presence, in the same place
      await sleep(everyMs, signal);
    }
  }
}
