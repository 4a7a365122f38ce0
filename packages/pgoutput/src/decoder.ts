import type { ReplicaIdentity } from "@walcast/model";
import { ByteReader } from "./byte-reader.ts";
import type {
  DeleteMessage,
  Message,
  OldTuple,
  RelationMessage,
  Tuple,
  TupleValue,
  UpdateMessage,
} from "./messages.ts";

/**
 * One pgoutput message from its bytes (PostgreSQL manual, "Logical Replication Message Formats", protocol version 1).
 * Total: every input gives a message or a ProtocolError. Rows become strings here, which is plain and slow; the hot path
 * is the transcoder, and this decoder is what it is tested against.
 */
export function decodeMessage(bytes: Uint8Array): Message {
  const reader = new ByteReader(bytes);
  const message = decodeBody(reader, reader.char());
  reader.end();
  return message;
}

function decodeBody(reader: ByteReader, messageTag: string): Message {
  switch (messageTag) {
    case "B":
      return { tag: "begin", commitLsn: reader.lsn(), committedAtMicros: reader.int64(), xid: reader.uint32() };
    case "C":
      reader.uint8(); // flags, unused
      return { tag: "commit", commitLsn: reader.lsn(), endLsn: reader.lsn(), committedAtMicros: reader.int64() };
    case "O":
      return { tag: "origin", commitLsn: reader.lsn(), name: reader.cstring() };
    case "R":
      return decodeRelation(reader);
    case "Y":
      return { tag: "type", oid: reader.uint32(), schema: readSchema(reader), name: reader.cstring() };
    case "I":
      return { tag: "insert", relationOid: reader.uint32(), newTuple: decodeNewTuple(reader) };
    case "U":
      return decodeUpdate(reader);
    case "D":
      return decodeDelete(reader);
    case "T": {
      const count = reader.int32();
      const options = reader.uint8();
      const relationOids = repeat(reader, count, () => reader.uint32());
      return { tag: "truncate", cascade: (options & 1) !== 0, restartIdentity: (options & 2) !== 0, relationOids };
    }
    case "M": {
      const flags = reader.uint8();
      const lsn = reader.lsn();
      const prefix = reader.cstring();
      return { tag: "message", transactional: (flags & 1) !== 0, lsn, prefix, content: reader.slice(reader.int32()) };
    }
    default:
      return reader.fail("unknown message tag");
  }
}

function decodeRelation(reader: ByteReader): RelationMessage {
  const oid = reader.uint32();
  const schema = readSchema(reader);
  const table = reader.cstring();
  const replicaIdentity = reader.char();
  if (!isReplicaIdentity(replicaIdentity)) reader.fail(`unknown replica identity '${replicaIdentity}'`);
  const columns = repeat(reader, reader.int16(), () => {
    const isKey = (reader.uint8() & 1) !== 0;
    return { isKey, name: reader.cstring(), typeOid: reader.uint32(), typeModifier: reader.int32() };
  });
  return { tag: "relation", oid, schema, table, replicaIdentity, columns };
}

/** The empty namespace stands for pg_catalog. */
const readSchema = (reader: ByteReader): string => reader.cstring() || "pg_catalog";

const isReplicaIdentity = (char: string): char is ReplicaIdentity => "dnfi".includes(char);

function decodeUpdate(reader: ByteReader): UpdateMessage {
  const relationOid = reader.uint32();
  const next = String.fromCharCode(reader.bytes[reader.offset] ?? 0);
  const old = next === "K" || next === "O" ? decodeOldTuple(reader) : undefined;
  return { tag: "update", relationOid, old, newTuple: decodeNewTuple(reader) };
}

const decodeDelete = (reader: ByteReader): DeleteMessage => ({
  tag: "delete",
  relationOid: reader.uint32(),
  old: decodeOldTuple(reader),
});

function decodeOldTuple(reader: ByteReader): OldTuple {
  const kind = reader.char();
  if (kind !== "K" && kind !== "O") reader.fail(`expected an old tuple, found '${kind}'`);
  return { kind: kind === "K" ? "key" : "full", tuple: decodeTuple(reader) };
}

function decodeNewTuple(reader: ByteReader): Tuple {
  const kind = reader.char();
  if (kind !== "N") reader.fail(`expected a new tuple, found '${kind}'`);
  return decodeTuple(reader);
}

const decodeTuple = (reader: ByteReader): Tuple =>
  repeat(reader, reader.int16(), (): TupleValue => {
    const kind = reader.char();
    switch (kind) {
      case "n":
        return null;
      case "u":
        return { unchangedToast: true };
      case "t":
        return reader.text(reader.int32());
      default:
        return reader.fail(`unknown column kind '${kind}'`);
    }
  });

function repeat<T>(reader: ByteReader, count: number, read: () => T): T[] {
  if (count < 0) reader.fail(`negative count ${count}`);
  // An item is a byte at least: a count beyond that is garbage, and must not allocate.
  if (count > reader.bytes.length - reader.offset) reader.fail(`count ${count} is beyond the message`);
  return Array.from({ length: count }, read);
}
