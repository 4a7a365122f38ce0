import { unreachable, type Relation } from "@walcast/model";

/** A column of a table's primary key, as SQL names its type and the operator that its index compares with. */
export interface KeyColumn {
  readonly name: string;
  readonly type: string;
  readonly operator: string;
  /** `hex`: bytea is hex without prefix on the wire. `none`: what the wire has cannot be turned back into a value. */
  readonly wire: "text" | "hex" | "none";
}

/** What everybody finds of a table. */
export interface TableFacts {
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
  /** A partitioned table's rows are in its partitions; any other table's are its own. */
  readonly isPartitioned: boolean;
  readonly isRowSecured: boolean;
  readonly columns: ReadonlySet<string>;
  readonly primaryKey: readonly KeyColumn[];
}

/** What one role may do with a table. */
export interface TableAccess {
  readonly facts: TableFacts;
  readonly role: string;
  /** Columns it may SELECT; none without USAGE on the schema. */
  readonly selectable: ReadonlySet<string>;
  /** `policies`: row level security decides (manual, "Row Security Policies"): no owner, no BYPASSRLS. */
  readonly rows: "all" | "policies";
}

/** What there is to know about a role and a table. */
export type AccessAnswer =
  | { readonly tag: "access"; readonly access: TableAccess }
  | { readonly tag: "unknownRole" }
  /** Dropped, or not there yet. */
  | { readonly tag: "unknownTable" };

export type RowKind = "insert" | "update" | "delete" | "truncate";

/** How a change reaches a role (protocol.md 4.6). */
export type ChangeRule =
  /** A change without columns and values, with this among its `errors`. */
  | { readonly tag: "refused"; readonly error: string }
  | {
      readonly tag: "delivered";
      /** Columns it is cut down to, in `columns` and both records; `undefined` for all. */
      readonly columns: ReadonlySet<string> | undefined;
      /** `undefined`: `old_record` is cut as the rest. */
      readonly oldColumns: ReadonlySet<string> | undefined;
      /** `visible`: only after `Visibility` said that the row is. */
      readonly rows: "all" | "visible";
    };

export const unauthorized = "Error 401: Unauthorized";
export const noPrimaryKey = "Error 400: Bad Request, no primary key";
const refused = (error: string): ChangeRule => ({ tag: "refused", error });

/**
 * The rule for one kind of change. A role or table that is not known any more is refused as if nothing were granted. Columns
 * that the table does not have now, as one dropped since the change, are left out: nobody can say who might read them.
 */
export function ruleFor(answer: AccessAnswer, kind: RowKind, relation: Relation): ChangeRule {
  if (answer.tag !== "access") return refused(unauthorized);
  const { facts, selectable, rows } = answer.access;
  const columns = cut(relation, selectable);
  const key = facts.primaryKey.map(({ name }) => name);
  const isKeySelectable = key.every((name) => selectable.has(name));
  if (selectable.size === 0 || !isKeySelectable) return refused(unauthorized);
  switch (kind) {
    case "insert":
    case "update": {
      if (key.length === 0) return refused(noPrimaryKey);
      return { tag: "delivered", columns, oldColumns: undefined, rows: rows === "all" ? "all" : "visible" };
    }
    case "delete": {
      // Nobody can say who might have seen the row: under row level security everybody gets its key, and no more.
      const oldColumns = facts.isRowSecured ? new Set(key) : undefined;
      return { tag: "delivered", columns, oldColumns, rows: "all" };
    }
    case "truncate":
      return { tag: "delivered", columns, oldColumns: undefined, rows: "all" };
    default:
      return unreachable(kind);
  }
}

/** `undefined` when it is all columns of the change. */
function cut({ columns }: Relation, selectable: ReadonlySet<string>): ReadonlySet<string> | undefined {
  return columns.every(({ name }) => selectable.has(name)) ? undefined : selectable;
}
