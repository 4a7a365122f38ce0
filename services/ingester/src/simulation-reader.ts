import { decodeBatch, decodeHeader, type BatchHeader } from "@walcast/change-log";
import { comparePositions, type Position } from "@walcast/model";
import type { SimulatedStream } from "./simulation-stream.ts";

export type ContinuityOf = (last: Position | undefined, header: BatchHeader) => "follows" | "repeat" | "hole";

/** A promise of the design that a schedule broke. */
export class BrokenPromise extends Error {}

export const idOf = (record: Buffer | undefined): number =>
  (JSON.parse(record?.toString() ?? "{}") as { readonly id: number }).id;

/** Reads the log as `NatsReading` does: by sequence while nothing happens, by position where the log is not what it was. */
export class SimulatedReader {
  /** The ids of the rows it delivered. */
  readonly seen: number[] = [];
  readonly #stream: SimulatedStream;
  readonly #continuityOf: ContinuityOf;
  #sequence = 1;
  /** Those of the stream that it has noticed. */
  #crashes = 0;
  #last: Position | undefined;
  #behindHole: BatchHeader | undefined;

  constructor(stream: SimulatedStream, continuityOf: ContinuityOf) {
    this.#stream = stream;
    this.#continuityOf = continuityOf;
  }

  get isAtEnd(): boolean {
    return this.#sequence > this.#stream.lastSequence;
  }

  /** Its connection ended with the stream's server, which it may not notice before it reads on. */
  reconnect(): void {
    if (this.#crashes !== this.#stream.crashes) this.#search();
    this.#crashes = this.#stream.crashes;
  }

  read(): void {
    if (this.#sequence > this.#stream.lastSequence + 1) this.#search();
    const message = this.#stream.messages[this.#sequence - 1];
    if (message === undefined) return;
    const batch = decodeBatch(message.bytes);
    const { header } = batch;
    const after = this.#last;
    const continuity = this.#continuityOf(after, header);
    const isConfirmed = this.#behindHole !== undefined && comparePositions(this.#behindHole.first, header.first) === 0;
    if (continuity === "hole" && !isConfirmed) {
      const found = this.#search();
      this.#behindHole = found !== undefined && this.#continuityOf(after, found) === "hole" ? found : undefined;
      return;
    }
    if (continuity === "hole") throw new BrokenPromise(`a reader was told of a gap before message ${this.#sequence}`);
    this.#sequence++;
    if (continuity === "repeat") return;
    this.#behindHole = undefined;
    this.#last = header.last;
    for (const { record } of batch.changes(after)) this.seen.push(idOf(record));
  }

  /** Returns the header of what is to be read next. */
  #search(): BatchHeader | undefined {
    const last = this.#last;
    const headers = this.#stream.messages.map(({ bytes }) => decodeHeader(bytes));
    const found = headers.findIndex((header) => last === undefined || this.#continuityOf(last, header) !== "repeat");
    this.#sequence = found === -1 ? this.#stream.lastSequence + 1 : found + 1;
    return headers[found];
  }
}
