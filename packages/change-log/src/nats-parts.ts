import type { JetStreamManager } from "@nats-io/jetstream";
import { headers, type MsgHdrs } from "@nats-io/nats-core";
import type { Position } from "@walcast/model";
import { isBeforeEverything, tryDecodeHeader } from "./batch.ts";

// A change larger than a message is stored as several messages, in a row and in order; the header says which of how many.

const partHeader = "Walcast-Part";

/** Cuts `bytes` to parts of at most `limit` bytes; one part without a header when it fits. */
export function splitParts(bytes: Uint8Array, limit: number): { data: Uint8Array; headers: MsgHdrs | undefined }[] {
  if (bytes.length <= limit) return [{ data: bytes, headers: undefined }];
  const count = Math.ceil(bytes.length / limit);
  return Array.from({ length: count }, (_, index) => {
    const part = headers();
    part.set(partHeader, `${index + 1}/${count}`);
    return { data: bytes.subarray(index * limit, (index + 1) * limit), headers: part };
  });
}

export interface Part {
  /** From 1. */
  readonly index: number;
  readonly count: number;
}

export function partOf(messageHeaders: MsgHdrs | undefined): Part {
  const match = /^(\d+)\/(\d+)$/.exec(messageHeaders?.get(partHeader) ?? "");
  return match === null ? { index: 1, count: 1 } : { index: Number(match[1]), count: Number(match[2]) };
}

/** Puts parts together again. A first part starts anew: a writer that died between parts leaves a torso behind. */
export class PartJoiner {
  #parts: Uint8Array[] = [];

  /** The whole batch when `data` completes one. */
  add(data: Uint8Array, part: Part): Uint8Array | undefined {
    if (part.count === 1) return data;
    if (part.index === 1) this.#parts = [];
    else if (part.index !== this.#parts.length + 1) {
      this.#parts = [];
      return undefined;
    }
    this.#parts.push(data);
    if (part.index < part.count) return undefined;
    const whole = Buffer.concat(this.#parts);
    this.#parts = [];
    return whole;
  }
}

/** What a stored message says about the log. */
export interface FoundPlace {
  /** The last change of its batch; undefined for a mark at the beginning of an empty log. */
  readonly last: Position | undefined;
  /** The stream sequence of its batch's first part. */
  readonly sequence: number;
  /** The batch is complete with this message. */
  readonly isComplete: boolean;
}

/** Looks at one stored message; undefined when it is no part of a batch, or the batch's first part is gone. */
export async function findPlace(
  jsm: JetStreamManager,
  stream: string,
  sequence: number,
): Promise<FoundPlace | undefined> {
  const message = await jsm.streams.getMessage(stream, { seq: sequence });
  if (message === null) return undefined;
  const part = partOf(message.header);
  const firstSequence = sequence - part.index + 1;
  if (firstSequence < 1) return undefined;
  const first = part.index === 1 ? message : await jsm.streams.getMessage(stream, { seq: firstSequence });
  if (first === null) return undefined;
  // A stranger's message may claim to be a part of whatever stands before it.
  const { index, count } = partOf(first.header);
  const header = index === 1 && count === part.count ? tryDecodeHeader(first.data) : undefined;
  if (header === undefined) return undefined;
  const last = isBeforeEverything(header) ? undefined : header.last;
  return { last, sequence: firstSequence, isComplete: part.index === part.count };
}
