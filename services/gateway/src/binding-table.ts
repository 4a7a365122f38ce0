import type { Column } from "@walcast/model";
import { RoleUnknownError, ruleFor, type AccessCatalog, type Principal } from "@walcast/row-security";
import { SnapshotInterruptedError, SnapshotRefusedError, type OrderTerm } from "@walcast/snapshot";
import { columnsOf, isNamePattern } from "@walcast/subscriptions";
import type { Binding } from "./binding.ts";
import type { BindingTable } from "./channel-rows.ts";
import type { PublicationCatalog } from "./postgres/publication-catalog.ts";

export interface Wanted {
  readonly binding: Binding;
  readonly order: readonly OrderTerm[];
  readonly limit: number | undefined;
}

export interface Sources {
  readonly catalog: PublicationCatalog;
  /** `undefined`: everybody may see everything. */
  readonly access: Pick<AccessCatalog, "access"> | undefined;
  readonly principal: Principal | undefined;
  /** What was known of the table before is not to be trusted. */
  readonly notBeforeMs?: number | undefined;
}

/**
 * The rows of a binding, cut down to what changes would show: published columns that the principal's role may read. Throws
 * SnapshotRefusedError, SnapshotInterruptedError and DatabaseUnavailableError.
 */
export async function tableOf(
  { binding, order, limit }: Wanted,
  { catalog, access, principal, notBeforeMs }: Sources,
): Promise<BindingTable> {
  const { id, schema, table, filter, select } = binding;
  if (isNamePattern(schema) || isNamePattern(table)) {
    throw new SnapshotRefusedError(`name one schema and table, not ${schema}.${table}: rows are read table by table`);
  }
  let [published] = await catalog.describe(schema, table, { limit: 1, notBeforeMs });
  const known = new Set(published?.columns.map(({ name }) => name));
  const named = [...columnsOf(filter).map((name) => name.split("->")[0] ?? ""), ...(select ?? [])];
  // What is kept of the table may be from before the column was there.
  if (published !== undefined && !named.every((name) => known.has(name)))
    [published] = await catalog.describe(schema, table, { limit: 1, notBeforeMs: performance.now() });
  if (published === undefined) throw new SnapshotRefusedError(`${schema}.${table} is not published`);
  const { oid, attributes, columns: all, primaryKey } = published;
  let columns: readonly Column[] = all;
  if (principal !== undefined && access !== undefined) {
    const relation = { oid, schema, table, replicaIdentity: "d", columns: all } as const;
    const answer = await access.access(relation, principal.role);
    if (answer.tag === "unknownRole") throw new SnapshotRefusedError(new RoleUnknownError(principal.role).message);
    if (answer.tag === "unknownTable") throw new SnapshotInterruptedError(`${schema}.${table} was altered`);
    const rule = ruleFor(answer, "insert", relation);
    if (rule.tag === "refused") throw new SnapshotRefusedError(`${schema}.${table}: ${rule.error}`);
    const { columns: readable } = rule;
    if (readable !== undefined) columns = all.filter(({ name }) => readable.has(name));
  }
  const isReadable = new Set(columns.map(({ name }) => name));
  const hidden = columnsOf(filter).find((name) => !isReadable.has(name) && !isReadable.has(name.split("->")[0] ?? ""));
  if (hidden !== undefined) throw new SnapshotRefusedError(`invalid column for filter ${hidden}`);
  const sent = select === undefined ? columns : columns.filter(({ name }) => select.includes(name));
  // Changes name rows by the key that the table had when the channel began.
  return {
    id,
    primaryKey: binding.key ?? primaryKey,
    table: { oid, attributes, schema, table, columns, sent, filter, order, limit },
  };
}
