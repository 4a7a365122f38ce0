import { decodeBatch, decodeHeader } from "@walcast/change-log";
import type { Position } from "@walcast/model";
import { SimulatedLeader, type Rules } from "./simulation-leader.ts";
import { SimulatedPostgres } from "./simulation-postgres.ts";
import { seededRandom, type SimulationRandom } from "./simulation-random.ts";
import { BrokenPromise, idOf, SimulatedReader, type ContinuityOf } from "./simulation-reader.ts";
import { SimulatedStream } from "./simulation-stream.ts";

const syncIntervalMs = 1_000;
/** More than the longest chain of promises from one cause to its last effect. */
const microtasksEach = 10;
/** Far more than a calm world needs. */
const calmStepLimit = 3_000;

/**
 * PostgreSQL, the log, a reader, and leaders of which one ought to lead. The scheduler does one thing at a time, chosen by
 * the seed, and lets everything that follows from it happen before the next.
 */
export class SimulatedWorld {
  readonly #random: SimulationRandom;
  readonly #rules: Rules;
  readonly #postgres = new SimulatedPostgres();
  readonly #stream = new SimulatedStream(syncIntervalMs);
  readonly #reader: SimulatedReader;
  readonly #batchBytesLimit: number;
  readonly #windowBytes: number;
  readonly #happenings: readonly { readonly weight: number; readonly happen: () => void }[];
  readonly #weights: number;
  /** All that ever led: what they sent may still arrive. */
  readonly #leaders: SimulatedLeader[] = [];
  /** Which rows a stored message holds: asked at every confirmation. */
  readonly #ids = new WeakMap<object, readonly number[]>();
  #leader: SimulatedLeader;
  #nowMs = 1;

  constructor({ seed, rules, continuityOf }: { seed: number; rules: Rules; continuityOf: ContinuityOf }) {
    this.#random = seededRandom(seed);
    this.#rules = rules;
    this.#reader = new SimulatedReader(this.#stream, continuityOf);
    this.#batchBytesLimit = this.#random.integer(1, 200);
    this.#windowBytes = this.#random.integer(1, 1_000);
    this.#leader = this.#lead();
    this.#happenings = this.#listHappenings();
    this.#weights = this.#happenings.reduce((sum, { weight }) => sum + weight, 0);
  }

  /** Runs one schedule to its calm end. Throws BrokenPromise. */
  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) {
      let choice = this.#random.integer(1, this.#weights);
      this.#happenings.find(({ weight }) => (choice -= weight) <= 0)?.happen();
      await this.#settle(this.#random.integer(0, 100));
    }
    await this.#calmDown();
    this.#checkLog();
    this.#checkReader();
  }

  #listHappenings(): { weight: number; happen: () => void }[] {
    const random = this.#random;
    const awake = (act: (leader: SimulatedLeader) => void) => (): void => {
      const leader = this.#leaders[random.integer(0, this.#leaders.length - 1)];
      const chosen = random.chance(0.7) ? this.#leader : leader;
      if (chosen !== undefined && !chosen.isFrozen && !chosen.hasEnded) act(chosen);
    };
    return [
      // Quiet databases have troubles of their own: no append fails that would tell of them.
      { weight: [3, 20, 100][random.integer(0, 2)] ?? 0, happen: () => this.#postgres.commit(random) },
      { weight: 10, happen: () => this.#postgres.writeElsewhere(random) },
      { weight: 200, happen: awake((leader) => leader.giveTurn(random)) },
      { weight: 200, happen: () => this.#deliver() },
      { weight: 150, happen: awake((leader) => leader.hear()) },
      { weight: 5, happen: awake((leader) => leader.answers.shift()) },
      { weight: 60, happen: awake((leader) => this.#sendStatus(leader)) },
      { weight: 60, happen: awake((leader) => leader.verify(this.#nowMs)) },
      { weight: 60, happen: () => this.#reader.read() },
      { weight: 10, happen: () => this.#reader.reconnect() },
      { weight: 30, happen: () => (this.#nowMs += random.integer(0, 1_500)) },
      { weight: 10, happen: () => this.#postgres.checkpoint() },
      { weight: 3, happen: () => this.#postgres.crash() },
      { weight: 4, happen: () => this.#postgres.terminateWalsender() },
      { weight: 12, happen: () => this.#crashStream() },
      { weight: 6, happen: awake((leader) => leader.fail("an acknowledgement took too long")) },
      { weight: 8, happen: () => (this.#leader.isFrozen = true) },
      { weight: 12, happen: () => this.#thawOne() },
      { weight: 6, happen: () => this.#kill(this.#leader) },
      { weight: 40, happen: () => this.#replaceLeader() },
      // The lock was lost without the leader knowing: two lead at once.
      { weight: 3, happen: () => (this.#leader = this.#lead()) },
    ];
  }

  #lead(): SimulatedLeader {
    const leader = new SimulatedLeader({
      name: String(this.#leaders.length),
      postgres: this.#postgres,
      stream: this.#stream,
      rules: this.#rules,
      batchBytesLimit: this.#batchBytesLimit,
      windowBytes: this.#windowBytes,
      nowMs: () => this.#nowMs,
    });
    this.#leaders.push(leader);
    return leader;
  }

  #replaceLeader(): void {
    if (this.#leader.hasEnded || this.#leader.isFrozen) this.#leader = this.#lead();
  }

  /** The oldest message that some leader, alive or not, has on its way. */
  #deliver(): void {
    const sending = this.#leaders.filter(({ outgoing }) => outgoing.length > 0);
    const leader = sending[this.#random.integer(0, sending.length - 1)];
    const message = leader?.outgoing.shift();
    if (leader === undefined || message === undefined) return;
    // Now and then the server is busy electing, or its disk is full, and says so.
    const isStored = !this.#random.chance(0.01) && this.#stream.store(message.publication, this.#nowMs) !== undefined;
    leader.answers.push({ to: message, isStored });
  }

  #sendStatus(leader: SimulatedLeader): void {
    leader.sendStatus(this.#nowMs);
    this.#checkConfirmed();
  }

  /** What was on its way to the server is lost, or sent again by the client when it has connected again. */
  #crashStream(): void {
    this.#stream.crash(this.#random, this.#nowMs, this.#rules);
    for (const leader of this.#leaders) {
      leader.answers.length = 0;
      if (this.#random.chance(0.5)) leader.outgoing.length = 0;
    }
  }

  #thawOne(): void {
    const frozen = this.#leaders.filter(({ isFrozen }) => isFrozen);
    const leader = frozen[this.#random.integer(0, frozen.length - 1)];
    if (leader !== undefined) leader.isFrozen = false;
  }

  /** Of what it had given to the network, some still arrives. */
  #kill(leader: SimulatedLeader): void {
    leader.outgoing.length = this.#random.integer(0, leader.outgoing.length);
    leader.isFrozen = false;
    leader.fail("killed");
  }

  /** Lets consequences happen, and looks whether one was a bug. */
  async #settle(ms: number): Promise<void> {
    this.#nowMs += ms;
    // A turn of the event loop would do as well, and take as long as everything else together.
    for (let tick = 0; tick < microtasksEach; tick++) await Promise.resolve();
    const broken = this.#leaders.find(({ bug }) => bug !== undefined);
    if (broken !== undefined) throw new BrokenPromise("a leader failed by a bug", { cause: broken.bug });
  }

  /** No more faults: one leader, and everybody gets on. */
  async #calmDown(): Promise<void> {
    for (const leader of this.#leaders) this.#kill(leader);
    for (let step = 0; step < calmStepLimit; step++) {
      this.#replaceLeader();
      const leader = this.#leader;
      leader.giveTurn(this.#random);
      await this.#settle(20);
      this.#deliver();
      this.#deliver();
      for (let answers = leader.answers.length; answers > 0; answers--) leader.hear();
      await this.#settle(20);
      leader.verify(this.#nowMs);
      this.#sendStatus(leader);
      this.#reader.reconnect();
      this.#reader.read();
      const isDone = this.#postgres.confirmedLsn === this.#postgres.endLsn;
      if (isDone && this.#reader.isAtEnd && this.#leaders.every(({ outgoing }) => outgoing.length === 0)) return;
    }
    throw new BrokenPromise("the log never caught up: it hangs");
  }

  /** PostgreSQL has forgotten it, so no crash of the log may take it any more. */
  #checkConfirmed(): void {
    const needed = this.#postgres.lastConfirmedId;
    if (needed === 0) return;
    let safe = 0;
    for (let at = this.#stream.durable(this.#nowMs) - 1; at >= 0 && safe === 0; at--) {
      for (const id of this.#idsOf(at)) safe = id;
    }
    if (safe < needed) throw new BrokenPromise(`row ${needed} was confirmed, but a crash could take all after ${safe}`);
  }

  #checkLog(): void {
    let previous: Position | undefined;
    let expected = 1;
    for (const [at, { bytes }] of this.#stream.messages.entries()) {
      const header = decodeHeader(bytes);
      if (header.isMark) continue;
      if (JSON.stringify(header.previous, printBigint) !== JSON.stringify(previous, printBigint))
        throw new BrokenPromise(`message ${at + 1} names another predecessor than it has`);
      previous = header.last;
      for (const id of this.#idsOf(at)) {
        if (id !== expected) throw new BrokenPromise(`the log holds row ${id} where ${expected} belongs`);
        expected++;
      }
    }
    if (expected !== this.#postgres.lastId + 1) throw new BrokenPromise(`the log ends before row ${expected}`);
  }

  #checkReader(): void {
    const { seen } = this.#reader;
    const wrong = seen.findIndex((id, i) => id !== i + 1);
    if (wrong !== -1) throw new BrokenPromise(`the reader got row ${seen[wrong]} where ${wrong + 1} belongs`);
    if (seen.length !== this.#postgres.lastId) throw new BrokenPromise(`the reader got nothing after ${seen.length}`);
  }

  #idsOf(at: number): readonly number[] {
    const message = this.#stream.messages[at];
    if (message === undefined) return [];
    const known = this.#ids.get(message);
    if (known !== undefined) return known;
    const ids = [...decodeBatch(message.bytes).changes()].map(({ record }) => idOf(record));
    this.#ids.set(message, ids);
    return ids;
  }
}

const printBigint = (_key: string, value: unknown): unknown => (typeof value === "bigint" ? String(value) : value);
