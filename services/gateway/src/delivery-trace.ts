import type { LoggedBatch } from "@walcast/change-log";
import { formatPosition } from "@walcast/model";
import { timeOfDayOffsetMs, type Span, type Tracing } from "@walcast/telemetry";
import type { Recipients } from "./delivery.ts";
import type { Group } from "./group.ts";

/** Answers of the database that get spans, of one batch: one to each turn of the event loop that brings any. */
const answersLimit = 16;

/** Undefined for a batch that is not in the sample: nearly all. */
export function traceDelivery(tracing: Tracing, batch: LoggedBatch): DeliveryTrace | undefined {
  if (batch.trace === undefined) return undefined;
  const { traceparent, storedAtMs } = batch.trace;
  const offsetMs = timeOfDayOffsetMs();
  const receivedAtMs = performance.now() + offsetMs;
  const atMs = Math.min(storedAtMs, receivedAtMs); // the log's clock may be ahead of ours
  const deliver = tracing.goOn(traceparent, "deliver", { atMs, kind: "consumer", attributes: attributesOf(batch) });
  if (deliver === undefined) return undefined;
  deliver.child("receive", { atMs }).end({ atMs: receivedAtMs });
  return new DeliveryTrace({ deliver, offsetMs, receivedAtMs });
}

/**
 * Follows one batch from the log to the sockets: `deliver`, with its parts `receive` (from the log to here), `match` (who
 * wants it; frames are built and published meanwhile) and `publish` (from the first frame until the sockets have all of
 * them). For what PostgreSQL has to be asked about, `authorise` until it answers, and a `publish` of its own, come later;
 * a change at which the group of a role falls apart reaches its members one by one, without them.
 */
class DeliveryTrace {
  readonly #deliver: Span;
  readonly #offsetMs: number;
  readonly #receivedAtMs: number;
  #matchedAtMs: number | undefined;
  /** Frames that leave together. */
  #publishing: Publishing | undefined;
  #answers = 0;

  constructor(from: { readonly deliver: Span; readonly offsetMs: number; readonly receivedAtMs: number }) {
    this.#deliver = from.deliver;
    this.#offsetMs = from.offsetMs;
    this.#receivedAtMs = from.receivedAtMs;
  }

  /** The same recipients; the frames that they get are counted. */
  watch(recipients: Recipients): Recipients {
    return {
      ...recipients,
      emit: (group, frame, position) => {
        this.#count(group, frame);
        recipients.emit(group, frame, position);
      },
    };
  }

  /** Everybody has been found who wants any of the changes. */
  matched(changes: number): void {
    this.#matchedAtMs = this.#nowMs();
    this.#deliver
      .child("match", { atMs: this.#receivedAtMs })
      .end({ atMs: this.#matchedAtMs, attributes: { "walcast.changes": changes } });
  }

  /** What was published has left, in this turn of the event loop. */
  published(): void {
    const atMs = this.#nowMs();
    this.#endPublishing(atMs);
    this.#deliver.end({ atMs });
  }

  #count(group: Group, frame: Buffer): void {
    const publishing = (this.#publishing ??= this.#beginPublishing());
    publishing.frames++;
    publishing.deliveries += group.members;
    publishing.bytes += frame.length;
  }

  #beginPublishing(): Publishing {
    const atMs = this.#nowMs();
    const publishing: Publishing = { span: undefined, frames: 0, deliveries: 0, bytes: 0 };
    if (this.#matchedAtMs === undefined) {
      publishing.span = this.#deliver.child("publish", { atMs });
    } else if (this.#answers++ < answersLimit) {
      this.#deliver.child("authorise", { atMs: this.#matchedAtMs }).end({ atMs });
      publishing.span = this.#deliver.child("publish", { atMs });
    }
    if (this.#matchedAtMs !== undefined) setImmediate(() => this.#endPublishing(this.#nowMs()));
    return publishing;
  }

  #endPublishing(atMs: number): void {
    const { span, frames, deliveries, bytes } = this.#publishing ?? {};
    this.#publishing = undefined;
    span?.end({
      atMs,
      attributes: {
        "walcast.frames": frames ?? 0,
        "walcast.deliveries": deliveries ?? 0,
        "walcast.bytes": bytes ?? 0,
      },
    });
  }

  #nowMs(): number {
    return performance.now() + this.#offsetMs;
  }
}

interface Publishing {
  /** Undefined beyond the limit. */
  span: Span | undefined;
  frames: number;
  /** Frames by members of their groups. */
  deliveries: number;
  bytes: number;
}

function attributesOf({ header, relation, bytes }: LoggedBatch): Readonly<Record<string, string | number>> {
  const { schema, table } = relation.parse();
  return {
    "walcast.first_position": formatPosition(header.first),
    "walcast.last_position": formatPosition(header.last),
    "walcast.relation": `${schema}.${table}`,
    "walcast.bytes": bytes,
  };
}
