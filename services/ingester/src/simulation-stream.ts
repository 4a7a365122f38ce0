import type { SimulationRandom } from "./simulation-random.ts";

// A model of one JetStream stream (nats-server, server/stream.go, processJetStreamMsg): what it expects of a message is
// judged when the message arrives, against what the stream ends with then.

export interface Publication {
  readonly id: string;
  readonly bytes: Uint8Array;
  readonly expectedSequence: number;
  readonly expectedId: string | undefined;
  /** Stored so many times at once: an atomic batch. */
  readonly times?: number;
}

interface StoredMessage {
  readonly id: string;
  readonly bytes: Uint8Array;
  readonly storedMs: number;
}

export class SimulatedStream {
  readonly syncIntervalMs: number;
  /** Message n stands at n - 1: sequences begin at 1, and begin again after the last one that survived a crash. */
  readonly messages: StoredMessage[] = [];
  /** Counts the crashes: connections of before are gone. */
  crashes = 0;

  constructor(syncIntervalMs: number) {
    this.syncIntervalMs = syncIntervalMs;
  }

  get lastSequence(): number {
    return this.messages.length;
  }

  /** The sequence it got, or undefined when it was refused. */
  store(publication: Publication, nowMs: number): number | undefined {
    const { id, bytes, expectedSequence, expectedId, times = 1 } = publication;
    if (expectedSequence !== this.lastSequence) return undefined;
    if (expectedId !== undefined && expectedId !== this.messages.at(-1)?.id) return undefined;
    for (let i = 0; i < times; i++) this.messages.push({ id, bytes, storedMs: nowMs });
    return this.lastSequence;
  }

  idAt(sequence: number): string | undefined {
    return this.messages[sequence - 1]?.id;
  }

  /** How many messages no crash can take any more. */
  durable(nowMs: number): number {
    const firstYoung = this.messages.findIndex(({ storedMs }) => storedMs + this.syncIntervalMs > nowMs);
    return firstYoung === -1 ? this.messages.length : firstYoung;
  }

  /** Some of what was not synced is lost: a tail, maybe none of it; nothing where other replicas have it. */
  crash(random: SimulationRandom, nowMs: number, { isReplicated }: { readonly isReplicated: boolean }): void {
    this.crashes++;
    if (isReplicated) return;
    this.messages.length = random.integer(this.durable(nowMs), this.messages.length);
  }
}
