/** How PostgreSQL identifies the old row (pg_class.relreplident): default, nothing, full, index. */
export type ReplicaIdentity = "d" | "n" | "f" | "i";

export interface Column {
  readonly name: string;
  /** pg_type.typname, as `columns[].type` on the wire: `int8`, `_int4`, an enum's or a domain's own name. */
  readonly type: string;
  /** The type under any domains, when it differs from `type`: what values are compared as. */
  readonly baseType?: string;
  /** An enum's labels in its order, where somebody asked for them: the log does not say. */
  readonly labels?: readonly string[];
  readonly typeOid: number;
  /** pg_attribute.atttypmod; -1 when the type has none. */
  readonly typeModifier: number;
  /** Part of the replica identity, as the Relation message flags it. */
  readonly isKey: boolean;
}

/** A table as the Relation message describes it, with the names of its types. */
export interface Relation {
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
  readonly replicaIdentity: ReplicaIdentity;
  readonly columns: readonly Column[];
}
