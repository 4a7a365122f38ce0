import {
  decodeBatch,
  NatsChangeLog,
  streamName,
  type BatchHeader,
  type LogEntry,
  type LoggedRelation,
  type ReadOptions,
} from "@walcast/change-log";
import { setTimeout as pause } from "node:timers/promises";
import type { SeenChange } from "./ledger.ts";
import { endMark, tombstones } from "./workload.ts";

type Position = BatchHeader["first"];
type ReadFrom = Exclude<ReadOptions["from"], "now">;

/** Written apart from the model's own comparison, which is under test too. */
function isAfter(a: Position, b: Position): boolean {
  if (a.epoch !== b.epoch) return a.epoch > b.epoch;
  return a.commitLsn === b.commitLsn ? a.index > b.index : a.commitLsn > b.commitLsn;
}
const print = ({ epoch, commitLsn, index }: Position): string => `${epoch}.${commitLsn.toString(16)}.${index}`;

export const connectReader = (url: string, source: string): Promise<NatsChangeLog> =>
  NatsChangeLog.connect({ url, name: "chaos reader", source, backoff: () => pause(200) });

/** What one reading of the log brought. */
export class Reading {
  readonly changes: SeenChange[] = [];
  readonly positions: string[] = [];
  readonly complaints: string[] = [];
  hasEnd = false;
  lastBatchMs = 0;
  #last: Position | undefined;
  #relation: LoggedRelation | undefined;
  #table = "";

  /** Reads the log from its beginning until the end mark, or until the signal fires. */
  async run(log: NatsChangeLog, signal: AbortSignal): Promise<void> {
    const beginning = { after: { epoch: 1, commitLsn: 0n, index: -1 } } as unknown as ReadFrom;
    for await (const entry of await log.read({ from: beginning, signal })) {
      this.#take(entry);
      if (this.hasEnd) return;
    }
  }

  #take(entry: LogEntry): void {
    if (entry.tag === "gap") {
      // Nothing precedes the first batch, which a reader that asks for what follows a position must call a gap.
      if (this.#last !== undefined) this.complaints.push(`gap after ${print(entry.after)} up to ${print(entry.end)}`);
      return;
    }
    this.lastBatchMs = performance.now();
    for (const change of entry.batch.changes(entry.after)) {
      const { position, kind, relation } = change;
      if (relation !== this.#relation) [this.#relation, this.#table] = [relation, relation.parse().table];
      const table = this.#table;
      if (this.#last !== undefined && !isAfter(position, this.#last))
        this.complaints.push(`${print(position)} came after ${print(this.#last)}`);
      this.#last = position;
      this.positions.push(print(position));
      if (table === endMark) this.hasEnd = true;
      if (table === endMark || table === tombstones || kind === "truncate" || kind === "message") continue;
      const json = JSON.parse((change.record ?? change.oldRecord)?.toString() ?? "{}") as Record<string, unknown>;
      const version = kind === "delete" ? undefined : Number(json["version"]);
      this.changes.push({ kind, table, writer: Number(json["writer"]), n: Number(json["n"]), version });
    }
  }
}

interface StoredMessage {
  readonly sequence: number;
  readonly data: Buffer;
}

/**
 * The stream as it is stored, message by message: a reader passes over repeats, so it cannot tell that there are none.
 * Returns what is wrong with it and the positions of all changes in it.
 */
export async function auditStream(
  log: NatsChangeLog,
  source: string,
): Promise<{ messages: number; positions: string[]; complaints: string[] }> {
  const complaints: string[] = [];
  const positions: string[] = [];
  let last: Position | undefined;
  let messages = 0;
  for await (const { sequence, data } of storedMessages(log, source)) {
    messages++;
    const batch = decodeBatch(data);
    const { header } = batch;
    if (batch.relation.parse().table === markTable) {
      // It stands at the log's end and holds nothing; one in an empty log stands before everything. The log's one epoch
      // begins where the slot did.
      if (last === undefined && header.previous === undefined) last = header.last;
      if (last !== undefined && print(header.last) !== print(last))
        complaints.push(`mark ${sequence} stands at ${print(header.last)}, the log ends with ${print(last)}`);
      continue;
    }
    const named = header.previous === undefined ? "nothing" : print(header.previous);
    const expected = last === undefined ? "nothing" : print(last);
    if (named !== expected) complaints.push(`message ${sequence} names ${named} as its predecessor, it is ${expected}`);
    for (const { position } of batch.changes()) {
      if (last !== undefined && !isAfter(position, last))
        complaints.push(`message ${sequence}: ${print(position)} stands after ${print(last)}`);
      last = position;
      positions.push(print(position));
    }
    if (last !== undefined && print(header.last) !== print(last))
      complaints.push(`message ${sequence} says it ends with ${print(header.last)}, it is ${print(last)}`);
  }
  return { messages, positions, complaints };
}

/** A writer's own messages, by which it keeps former ones out (change-log, "markBatch"). */
const markTable = "$mark";

const messageNotFound = 10_037;
const askAhead = 100;

/** JetStream's own API, by hand: nothing of walcast or of the client library comes between. */
async function ask({ connection }: NatsChangeLog, subject: string, body?: unknown): Promise<unknown> {
  const request = body === undefined ? "" : JSON.stringify(body);
  return (await connection.request(`$JS.API.${subject}`, request, { timeout: 10_000 })).json();
}

export async function sequencesOf(
  log: NatsChangeLog,
  source: string,
): Promise<{ first_seq: number; last_seq: number }> {
  const { state } = (await ask(log, `STREAM.INFO.${streamName(source)}`)) as {
    state: { first_seq: number; last_seq: number };
  };
  return state;
}

async function* storedMessages(log: NatsChangeLog, source: string): AsyncGenerator<StoredMessage> {
  const state = await sequencesOf(log, source);
  const stream = streamName(source);
  for (let from = state.first_seq; from <= state.last_seq; from += askAhead) {
    const count = Math.min(askAhead, state.last_seq - from + 1);
    const answers = await Promise.all(
      Array.from({ length: count }, (_, i) => ask(log, `STREAM.MSG.GET.${stream}`, { seq: from + i })),
    );
    for (const [i, answer] of answers.entries()) {
      const { message, error } = answer as {
        message?: { data?: string };
        error?: { err_code: number; description: string };
      };
      if (message === undefined) {
        if (error?.err_code === messageNotFound) continue;
        throw new Error(`message ${from + i} of ${stream}: ${error?.description}`);
      }
      yield { sequence: from + i, data: Buffer.from(message.data ?? "", "base64") };
    }
  }
}
