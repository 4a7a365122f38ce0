import { formatPosition } from "@walcast/model";
import { timeOfDayOffsetMs, type Span, type Tracing } from "@walcast/telemetry";
import type { NumberedBatch } from "./batch-builder.ts";

/** The append of a batch that is in the sample. */
export interface TracedAppend {
  /** For the log, so that gateways go on with the trace. */
  readonly traceparent: string;
  /** The log has stored the batch, or why not. */
  end(error?: unknown): void;
}

/**
 * Follows batches from their commit to the log: `ingest`, with its parts `read` (until the ingester has it), `transcode`
 * (until the batch is complete) and `append` (until the log has acknowledged it). Batches are what is sampled, as they are
 * what the log carries; a batch of several transactions begins with the commit of its first.
 */
export class BatchTraces {
  readonly #tracing: Tracing;
  /** When the first change of the next batch was read, or could have been. */
  #readAtMs = performance.now();

  constructor(tracing: Tracing) {
    this.#tracing = tracing;
  }

  /** Messages were read, while a batch was open or not. */
  read({ hasOpenBatch }: { readonly hasOpenBatch: boolean }): void {
    if (!hasOpenBatch) this.#readAtMs = performance.now();
  }

  /** The batch is complete and goes to the log. Undefined when it is not in the sample. */
  append(batch: NumberedBatch): TracedAppend | undefined {
    const offsetMs = timeOfDayOffsetMs();
    const completeAtMs = performance.now() + offsetMs;
    const readAtMs = this.#readAtMs + offsetMs;
    this.#readAtMs = completeAtMs - offsetMs;
    // PostgreSQL's clock may be ahead of ours.
    const atMs = batch.committedAtMicros === 0 ? readAtMs : Math.min(batch.committedAtMicros / 1000, readAtMs);
    const ingest = this.#tracing.begin("ingest", { atMs });
    if (ingest === undefined) return undefined;
    ingest.child("read", { atMs }).end({ atMs: readAtMs });
    ingest.child("transcode", { atMs: readAtMs }).end({ atMs: completeAtMs });
    const append = ingest.child("append", { atMs: completeAtMs, kind: "producer" });
    return { traceparent: append.traceparent, end: (error) => endBoth({ ingest, append, batch, offsetMs, error }) };
  }
}

function endBoth(of: {
  readonly ingest: Span;
  readonly append: Span;
  readonly batch: NumberedBatch;
  readonly offsetMs: number;
  readonly error: unknown;
}): void {
  const { first, last, relation, changes, lines } = of.batch;
  const end = { atMs: performance.now() + of.offsetMs, error: of.error };
  of.append.end(end);
  of.ingest.end({
    ...end,
    attributes: {
      "walcast.first_position": formatPosition(first),
      "walcast.last_position": formatPosition(last),
      "walcast.relation": `${relation.schema}.${relation.table}`,
      "walcast.changes": changes,
      "walcast.bytes": lines.length,
    },
  });
}
