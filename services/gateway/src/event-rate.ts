/** As the peer measures (protocol.md 4.11): ticks of five seconds, a minute of them. */
const tickMs = 5_000;
const windowTicks = 12;

/** How many events there were per second, on average over the last minute: short bursts pass. */
export class EventRate {
  readonly #now: () => number;
  /** The newest at the end. */
  readonly #ticks: { readonly tick: number; count: number }[] = [];
  #firstTick: number | undefined;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  add(count: number): void {
    const tick = this.#tick();
    const newest = this.#ticks.at(-1);
    if (newest?.tick === tick) newest.count += count;
    else this.#ticks.push({ tick, count });
    this.#firstTick ??= tick;
  }

  perSecond(): number {
    const tick = this.#tick();
    while (this.#ticks[0] !== undefined && this.#ticks[0].tick <= tick - windowTicks) this.#ticks.shift();
    const events = this.#ticks.reduce((sum, { count }) => sum + count, 0);
    const ticks = Math.min(windowTicks, tick - (this.#firstTick ?? tick) + 1);
    return (events * 1_000) / (ticks * tickMs);
  }

  #tick(): number {
    return Math.floor(this.#now() / tickMs);
  }
}
