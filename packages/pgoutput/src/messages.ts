import type { Lsn, ReplicaIdentity } from "@walcast/model";

// The messages of PostgreSQL's manual, "Logical Replication Message Formats", protocol version 1. Times are microseconds
// since 2000-01-01 UTC, as on the wire.

export interface BeginMessage {
  readonly tag: "begin";
  /** Start of the commit record: what the transaction's changes are ordered by. */
  readonly commitLsn: Lsn;
  readonly committedAtMicros: bigint;
  readonly xid: number;
}
export interface CommitMessage {
  readonly tag: "commit";
  readonly commitLsn: Lsn;
  /** First byte after the commit record: what may be confirmed once the transaction is safe. */
  readonly endLsn: Lsn;
  readonly committedAtMicros: bigint;
}
export interface OriginMessage {
  readonly tag: "origin";
  readonly commitLsn: Lsn;
  readonly name: string;
}
export interface RelationColumn {
  readonly name: string;
  readonly typeOid: number;
  readonly typeModifier: number;
  readonly isKey: boolean;
}
export interface RelationMessage {
  readonly tag: "relation";
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
  readonly replicaIdentity: ReplicaIdentity;
  readonly columns: readonly RelationColumn[];
}
export interface TypeMessage {
  readonly tag: "type";
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
}
/** A column's text, `null`, or the mark that PostgreSQL did not send an unchanged TOAST value. */
export type TupleValue = string | null | { readonly unchangedToast: true };
export type Tuple = readonly TupleValue[];
/** `key`: only the replica identity's columns are set; `full`: REPLICA IDENTITY FULL. */
export interface OldTuple {
  readonly kind: "key" | "full";
  readonly tuple: Tuple;
}
export interface InsertMessage {
  readonly tag: "insert";
  readonly relationOid: number;
  readonly newTuple: Tuple;
}
export interface UpdateMessage {
  readonly tag: "update";
  readonly relationOid: number;
  readonly old: OldTuple | undefined;
  readonly newTuple: Tuple;
}
export interface DeleteMessage {
  readonly tag: "delete";
  readonly relationOid: number;
  readonly old: OldTuple;
}
export interface TruncateMessage {
  readonly tag: "truncate";
  readonly cascade: boolean;
  readonly restartIdentity: boolean;
  readonly relationOids: readonly number[];
}
/** pg_logical_emit_message. */
export interface LogicalMessage {
  readonly tag: "message";
  readonly transactional: boolean;
  readonly lsn: Lsn;
  readonly prefix: string;
  readonly content: Uint8Array;
}

export type Message =
  | BeginMessage
  | CommitMessage
  | OriginMessage
  | RelationMessage
  | TypeMessage
  | InsertMessage
  | UpdateMessage
  | DeleteMessage
  | TruncateMessage
  | LogicalMessage;
