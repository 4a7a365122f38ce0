import type { JetStreamManager, JsMsg } from "@nats-io/jetstream";
import { headers, type MsgHdrs } from "@nats-io/nats-core";
import { zeroLsn, type Position } from "@walcast/model";
import { isBelief, tryDecodeHeader, type BatchHeader, type BatchTrace } from "./batch.ts";

// A change larger than a message is stored as several messages, in a row and in order; the header says which of how many.

const partHeader = "Walcast-Part";
/** https://www.w3.org/TR/trace-context/#traceparent-header, as OpenTelemetry puts it on NATS messages. */
const traceHeader = "traceparent";

/** One message of the log. */
export interface StoredPart {
  readonly data: Uint8Array;
  readonly headers: MsgHdrs | undefined;
}

/** Cuts `bytes` to parts of at most `limit` bytes; one part without a header when it fits. */
export function splitParts(bytes: Uint8Array, limit: number): StoredPart[] {
  if (bytes.length <= limit) return [{ data: bytes, headers: undefined }];
  const count = Math.ceil(bytes.length / limit);
  return Array.from({ length: count }, (_, index) => {
    const part = headers();
    part.set(partHeader, `${index + 1}/${count}`);
    return { data: bytes.subarray(index * limit, (index + 1) * limit), headers: part };
  });
}

/** The same part, with its trace beside it. */
export function withTrace(part: StoredPart, traceparent: string | undefined): StoredPart {
  if (traceparent === undefined) return part;
  const all = part.headers ?? headers();
  all.set(traceHeader, traceparent);
  return { ...part, headers: all };
}

/** What stands beside a batch whose way is traced; that of its last part. */
export function traceOf(message: JsMsg): BatchTrace | undefined {
  const traceparent = message.headers?.get(traceHeader);
  if (traceparent === undefined || traceparent === "") return undefined;
  return { traceparent, storedAtMs: Number(message.timestampNanos / 1000n) / 1000 };
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
  readonly header: BatchHeader;
  /** The stream sequence of its batch's first part. */
  readonly sequence: number;
  /** The batch is complete with this message. */
  readonly isComplete: boolean;
  /** How many messages back something may stand that is no mark of the same writer: it begins with many. */
  readonly toFormer: number;
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
  const toFormer = isBelief(header) ? marksUpTo(message.header) : part.index;
  return { header, sequence: firstSequence, isComplete: part.index === part.count, toFormer };
}

/** Messages on their way to the server, and marks that a writer begins with (nats-writer.ts). */
export const inFlightLimit = 128;

/** Ids of messages: a writer's own, and the number of its message from 0. Its messages follow each other without another's. */
export const messageId = (writer: string, count: number): string => `${writer}.${count}`;

/** A writer's first messages are marks; a later one, that keeps an idle log from being emptied, stands alone. */
function marksUpTo(messageHeaders: MsgHdrs): number {
  const count = Number(/\.(\d+)$/.exec(messageHeaders.get("Nats-Msg-Id"))?.[1] ?? inFlightLimit);
  return count < inFlightLimit ? count + 1 : 1;
}

/** Messages of a stream, both included. */
export interface Stretch {
  readonly sequence: number;
  readonly lowest: number;
}

/** What message `sequence` says about the log, or else the nearest before it, down to `lowest`, that is to be believed. */
export async function findAtOrBefore(
  jsm: JetStreamManager,
  stream: string,
  { sequence, lowest }: Stretch,
): Promise<FoundPlace | undefined> {
  for (let at = sequence; at >= lowest;) {
    const found = await findPlace(jsm, stream, at);
    if (found !== undefined && !isBelief(found.header)) return found;
    at -= found?.toFormer ?? 1;
  }
  return undefined;
}

/**
 * The last change of the last complete batch. What stands behind it is passed over: parts of one that was never finished,
 * strangers' messages, marks. Where retention has left nothing but marks, the newest says where the log ended.
 */
export async function findEnd(
  jsm: JetStreamManager,
  stream: string,
  { sequence, lowest }: Stretch,
): Promise<Position | undefined> {
  let believed: Position | undefined;
  for (let at = sequence; at >= lowest;) {
    const found = await findPlace(jsm, stream, at);
    at -= found?.toFormer ?? 1;
    if (found?.isComplete !== true) continue;
    if (!isBelief(found.header)) return found.header.last;
    if (found.header.last.commitLsn !== zeroLsn) believed ??= found.header.last;
  }
  return believed;
}
