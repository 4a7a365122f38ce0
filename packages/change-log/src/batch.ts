import {
  beforeChange,
  comparePositions,
  formatPosition,
  parseLsn,
  parsePosition,
  toLsn,
  type Lsn,
  type Position,
  type Relation,
} from "@walcast/model";
import { BatchFormatError } from "./errors.ts";

/** Consecutive changes, ready to append. `lines` is the body of the format below. */
export interface Batch {
  /** The relation of the first change. */
  readonly relation: Relation;
  /** There are changes of other relations, too. */
  readonly isMixed?: boolean;
  readonly first: Position;
  readonly last: Position;
  readonly lines: Uint8Array;
  /** W3C Trace Context of a batch whose way is traced. It stands beside the batch in the log, not in it. */
  readonly traceparent?: string | undefined;
}

/** What the log carries beside a batch whose way is traced. */
export interface BatchTrace {
  /** W3C Trace Context. */
  readonly traceparent: string;
  /** When the log stored it, by the log's clock, in milliseconds since 1970. */
  readonly storedAtMs: number;
}

// The format, for any reader of the stream (this package's README says it at length). Lines end in \n:
//
//   {"walcast":1,"first":"1.0/16B3748.0","last":"1.0/16B3748.1","previous":null}
//   {"oid":16385,"schema":"public","table":"todos","replicaIdentity":"d","columns":[…]}
//   C <commit LSN> <commit time, microseconds since 1970> <xid> <index of the next change>      a transaction begins
//   R <n> [{relation}]      the next changes are of relation n of this batch, printed at its first mention; line 2 is 0
//   I {record}      U {record} {old record} [unchanged columns]      D {old record}      T      M {message}
//
// with tabs between the parts. JSON text never holds a raw tab or newline, so a reader finds each record without parsing it.

export type ChangeKind = "insert" | "update" | "delete" | "truncate" | "message";

/** A relation as a batch of the log says it. */
export interface LoggedRelation {
  /** Its JSON: equal text is the same relation. */
  readonly text: string;
  /** Parsed at each call. Throws BatchFormatError. */
  parse(): Relation;
}

/** One change as the log holds it. Records are JSON text as bytes, views into the batch. */
export interface LoggedChange {
  readonly kind: ChangeKind;
  /** The same object for consecutive changes of one relation. */
  readonly relation: LoggedRelation;
  readonly position: Position;
  readonly committedAtMicros: number;
  readonly xid: number;
  /** The new row, or a message as `{"prefix","transactional","content" (base64)}`; undefined for delete and truncate. */
  readonly record: Buffer | undefined;
  /** The old row or its identity; undefined for insert and truncate. */
  readonly oldRecord: Buffer | undefined;
  /** JSON array of the columns missing from `record` because PostgreSQL did not send them (unchanged TOAST). */
  readonly unchanged: Buffer | undefined;
}

export interface BatchHeader {
  readonly first: Position;
  readonly last: Position;
  /** The last change of the batch before this one in the log; undefined where continuity begins. */
  readonly previous: Position | undefined;
  /** There are no changes in it. */
  readonly isMark: boolean;
}

/** One batch read back. */
export interface LoggedBatch {
  readonly header: BatchHeader;
  /** What it takes in memory. */
  readonly bytes: number;
  /** That of the first change. */
  readonly relation: LoggedRelation;
  /** Undefined for nearly all: those that are not in the sample. */
  readonly trace?: BatchTrace | undefined;
  /** The changes in order, without those at or before `after`. */
  changes(after?: Position): Iterable<LoggedChange>;
  /** The transactions in order, found without looking at their changes. */
  transactions(): Iterable<LoggedTransaction>;
}

/** A transaction, or what a batch holds of it. */
export interface LoggedTransaction {
  readonly commitLsn: Lsn;
  readonly xid: number;
}

const noRelation = { oid: 0, replicaIdentity: "n", columns: [] } as const;
/** What pg_logical_emit_message's messages stand under. No table can be called so in the log: its subject differs. */
export const messageRelation: Relation = { ...noRelation, schema: "$message", table: "$message" };
/**
 * A batch without changes. At the beginning of an epoch readers learn of the gap by it, without waiting for a change; at the
 * log's last position, or at 0/0 in an empty log, it only keeps former writers out.
 */
const markRelation: Relation = { ...noRelation, schema: "$mark", table: "$mark" };
export const markBatch = (position: Position): Batch => ({
  relation: markRelation,
  first: position,
  last: position,
  lines: new Uint8Array(),
});

/**
 * Where an epoch begins: right before the byte that reading starts at. Commit records begin at multiples of eight, so no
 * change is ever there.
 */
export const epochBeginning = (epoch: number, startLsn: Lsn): Position => ({
  epoch,
  commitLsn: toLsn(startLsn - 1n),
  index: 0,
});

/** The place right before everything that the batch holds, and says. */
export const placeBefore = ({ isMark, first }: BatchHeader): Position => (isMark ? first : beforeChange(first));

/**
 * A mark that is not the beginning of an epoch says where its writer believed the log to end. It is a repeat to readers, and
 * nothing to rely on: the log may have been cut, and written on by another, between the writer's looking and its writing.
 */
export const isBelief = ({ isMark, previous }: BatchHeader): boolean => isMark && previous !== undefined;

const newline = 0x0a;
const tab = 0x09;

export function encodeBatch(batch: Batch, previous: Position | undefined): Uint8Array {
  const header = {
    walcast: 1,
    first: formatPosition(batch.first),
    last: formatPosition(batch.last),
    previous: previous === undefined ? null : formatPosition(previous),
  };
  const head = Buffer.from(`${JSON.stringify(header)}\n${relationText(batch.relation)}\n`);
  const bytes = Buffer.allocUnsafe(head.length + batch.lines.length);
  head.copy(bytes);
  bytes.set(batch.lines, head.length);
  return bytes;
}

/** Relations do not change, they are replaced: each is printed once. */
const relationTexts = new WeakMap<Relation, string>();
function relationText(relation: Relation): string {
  const known = relationTexts.get(relation);
  if (known !== undefined) return known;
  const text = JSON.stringify(relation);
  relationTexts.set(relation, text);
  return text;
}

/** The line that turns to relation `n` of a batch, 0 being the batch's own; `relation` at its first mention. */
export const relationLine = (n: number, relation: Relation | undefined): string =>
  relation === undefined ? `R\t${n}\n` : `R\t${n}\t${relationText(relation)}\n`;

/** The line that begins a transaction inside a batch. `index` is that of the change on the next line. */
export const transactionLine = (commit: {
  readonly commitLsnText: string;
  readonly committedAtMicros: number;
  readonly xid: number;
  readonly index: number;
}): string => `C\t${commit.commitLsnText}\t${commit.committedAtMicros}\t${commit.xid}\t${commit.index}\n`;

/** Only the header, for finding one's place in the log. Throws BatchFormatError. */
export function decodeHeader(bytes: Uint8Array): BatchHeader {
  return parseHeader(asBuffer(bytes)).header;
}

/** As `decodeHeader`; `undefined` for what is no batch. */
export function tryDecodeHeader(bytes: Uint8Array): BatchHeader | undefined {
  try {
    return decodeHeader(bytes);
  } catch (error) {
    if (error instanceof BatchFormatError) return undefined;
    throw error;
  }
}

/** Reads one message of the log. Throws BatchFormatError. */
export function decodeBatch(bytes: Uint8Array, trace?: BatchTrace): LoggedBatch {
  const buffer = asBuffer(bytes);
  const { header, end } = parseHeader(buffer);
  const relationEnd = lineEnd(buffer, end);
  const relation = loggedRelation(buffer.toString("utf8", end, relationEnd));
  return {
    header,
    bytes: buffer.length,
    relation,
    trace,
    *changes(after) {
      for (const change of readChanges(buffer, relationEnd + 1, { epoch: header.first.epoch, relation })) {
        if (after === undefined || comparePositions(change.position, after) > 0) yield change;
      }
    },
    transactions: () => readTransactions(buffer, relationEnd),
  };
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function lineEnd(buffer: Buffer, start: number): number {
  const end = buffer.indexOf(newline, start);
  if (end === -1) throw new BatchFormatError("a line has no end");
  return end;
}

function parseHeader(buffer: Buffer): { header: BatchHeader; end: number } {
  const end = lineEnd(buffer, 0);
  let fields: Partial<Record<string, unknown>> | null;
  try {
    fields = JSON.parse(buffer.toString("utf8", 0, end)) as Partial<Record<string, unknown>> | null;
  } catch (cause) {
    throw new BatchFormatError("its header is not JSON", { cause });
  }
  if (fields === null) throw new BatchFormatError("its header is null");
  if (fields["walcast"] !== 1)
    throw new BatchFormatError(`unknown format version ${JSON.stringify(fields["walcast"])}`);
  const position = (name: string): Position => {
    const text = fields[name];
    const parsed = typeof text === "string" ? parsePosition(text) : undefined;
    if (parsed === undefined) throw new BatchFormatError(`${name} is not a position`);
    return parsed;
  };
  const previous = fields["previous"] === null ? undefined : position("previous");
  // The lines after the relation's are the changes; a part of a batch may end before them.
  const isMark = buffer.indexOf(newline, end + 1) === buffer.length - 1;
  return { header: { first: position("first"), last: position("last"), previous, isMark }, end: end + 1 };
}

const loggedRelation = (text: string): LoggedRelation => ({
  text,
  parse() {
    try {
      return JSON.parse(text) as Relation;
    } catch (cause) {
      throw new BatchFormatError("its relation is not JSON", { cause });
    }
  },
});

function* readChanges(
  buffer: Buffer,
  start: number,
  { epoch, relation: first }: { readonly epoch: number; readonly relation: LoggedRelation },
): Generator<LoggedChange> {
  const relations = [first];
  let relation = first;
  let commitLsn: Lsn | undefined;
  let committedAtMicros = 0;
  let xid = 0;
  let index = 0;
  for (let at = start; at < buffer.length;) {
    const end = lineEnd(buffer, at);
    const kind = changeKinds[String.fromCharCode(buffer[at] ?? 0)];
    if (kind === "transaction") {
      const [, lsnText = "", micros, xidText, indexText] = buffer.toString("latin1", at, end).split("\t");
      commitLsn = parseLsn(lsnText);
      [committedAtMicros, xid, index] = [Number(micros), Number(xidText), Number(indexText)];
      if (!Number.isInteger(committedAtMicros + xid + index))
        throw new BatchFormatError(`not a transaction at byte ${at}`);
    } else if (kind === "relation") {
      const [n, text] = splitLine(buffer, at, end);
      const number = Number(n?.toString("latin1"));
      if (text !== undefined) relations[number] = loggedRelation(text.toString("utf8"));
      relation = relations[number] ?? unknownRelation(at);
    } else {
      if (kind === undefined || commitLsn === undefined) throw new BatchFormatError(`unexpected line at byte ${at}`);
      const [one, two, three] = splitLine(buffer, at, end);
      yield {
        kind,
        relation,
        position: { epoch, commitLsn, index },
        committedAtMicros,
        xid,
        record: kind === "delete" ? undefined : one,
        oldRecord: kind === "delete" ? one : two,
        unchanged: three,
      };
      index++;
    }
    at = end + 1;
  }
}

/** JSON never holds a raw newline, so that only a line's beginning looks like this. */
const transactionMark = Buffer.from("\nC\t");

function* readTransactions(buffer: Buffer, start: number): Generator<LoggedTransaction> {
  for (let at = buffer.indexOf(transactionMark, start); at !== -1; at = buffer.indexOf(transactionMark, at + 1)) {
    const [, lsnText = "", , xidText] = buffer.toString("latin1", at + 1, lineEnd(buffer, at + 1)).split("\t");
    const commitLsn = parseLsn(lsnText);
    if (commitLsn === undefined) throw new BatchFormatError(`not a transaction at byte ${at + 1}`);
    yield { commitLsn, xid: Number(xidText) };
  }
}

const changeKinds: Readonly<Record<string, ChangeKind | "transaction" | "relation">> = {
  C: "transaction",
  R: "relation",
  I: "insert",
  U: "update",
  D: "delete",
  T: "truncate",
  M: "message",
};

function unknownRelation(at: number): never {
  throw new BatchFormatError(`a relation at byte ${at} was not described before`);
}

/** The parts after the first tab. */
function splitLine(buffer: Buffer, start: number, end: number): Buffer[] {
  const parts: Buffer[] = [];
  let from = start + 2;
  while (from <= end) {
    const next = buffer.indexOf(tab, from);
    const partEnd = next === -1 || next > end ? end : next;
    parts.push(buffer.subarray(from, partEnd));
    from = partEnd + 1;
  }
  return parts;
}
