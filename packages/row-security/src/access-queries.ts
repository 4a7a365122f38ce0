import type { TableAccess, TableFacts, KeyColumn } from "./table-access.ts";

// All of this may be read by any role: pg_roles instead of pg_authid, and functions that ask about others' privileges.

/**
 * Changes whenever something changes that a table's facts and privileges are made of: rows of the catalog have another xmin
 * after each change (manual, "System Columns"). VACUUM and ANALYZE write in place and are not seen.
 */
const tableDigest = `
  md5(concat_ws(' ', c.xmin, n.xmin,
    (SELECT string_agg(concat_ws(':', a.attnum, a.xmin), ',' ORDER BY a.attnum)
       FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0), 'p',
    (SELECT string_agg(concat_ws(':', p.oid, p.xmin), ',' ORDER BY p.oid) FROM pg_policy p WHERE p.polrelid = c.oid), 'i',
    (SELECT string_agg(concat_ws(':', i.indexrelid, i.xmin), ',') FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)))`;

/** By name; a role that does not exist is not in it. */
const roleDigests = `
  (SELECT coalesce(json_object_agg(r.rolname, concat_ws(':', r.oid, r.rolsuper, r.rolbypassrls, r.rolinherit)), '{}')
     FROM pg_roles r WHERE r.rolname = ANY($2::text[]))`;

/** Of all memberships, and of what they pass on: a privilege may come by way of any role. */
const membershipsDigest = `
  (SELECT md5(string_agg(concat_ws(':', m.roleid, m.member, m.xmin, r.rolinherit, r.rolsuper), ','
                         ORDER BY m.roleid, m.member, m.grantor))
     FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member)`;

/** $1: tables, $2: roles. */
export const digestQuery = `
  SELECT ${roleDigests} AS roles, coalesce(${membershipsDigest}, '') AS memberships,
         (SELECT coalesce(json_object_agg(c.oid, ${tableDigest}), '{}')
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY($1::oid[])) AS tables`;

/** What to look at for a change. Tables and roles that do not exist are missing. */
export interface Digests {
  readonly roles: Readonly<Record<string, string>>;
  readonly memberships: string;
  readonly tables: Readonly<Record<string, string>>;
}

/** Types below domains, and in full: what is sent is compared as the index compares it, whatever the search path. */
const keyColumns = `
  (SELECT json_agg(json_build_object(
      'name', a.attname,
      'type', quote_ident(tn.nspname) || '.' || quote_ident(t.typname),
      'operator', coalesce(
        (SELECT quote_ident(opn.nspname) || '.' || op.oprname
           FROM pg_opclass oc
           JOIN pg_am am ON am.oid = oc.opcmethod AND am.amname = 'btree'
           JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amopstrategy = 3
                AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype
           JOIN pg_operator op ON op.oid = ao.amopopr
           JOIN pg_namespace opn ON opn.oid = op.oprnamespace
          WHERE oc.oid = i.indclass[k.n - 1]), 'pg_catalog.='),
      'wire', CASE WHEN t.oid = 'bytea'::regtype THEN 'hex'
                   WHEN t.typtype = 'c' OR t.typelem = 'bytea'::regtype THEN 'none' ELSE 'text' END) ORDER BY k.n)
     FROM pg_index i
     CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
     JOIN LATERAL (
       WITH RECURSIVE base AS (
         SELECT y.oid, y.typbasetype FROM pg_type y WHERE y.oid = a.atttypid
         UNION ALL
         SELECT y.oid, y.typbasetype FROM pg_type y JOIN base b ON y.oid = b.typbasetype
       ) SELECT oid FROM base WHERE typbasetype = 0) AS b ON true
     JOIN pg_type t ON t.oid = b.oid
     JOIN pg_namespace tn ON tn.oid = t.typnamespace
    WHERE i.indrelid = c.oid AND i.indisprimary AND k.n <= i.indnkeyatts)`;

/**
 * $1: tables, $2: roles. `filtered` is what PostgreSQL's check_enable_rls decides: policies apply unless the role has
 * BYPASSRLS, is a superuser, or has the owner's privileges without FORCE.
 */
export const describeQuery = `
  SELECT ${roleDigests} AS roles, coalesce(${membershipsDigest}, '') AS memberships,
         (SELECT coalesce(json_agg(json_build_object(
            'oid', c.oid::int8, 'schema', n.nspname, 'table', c.relname, 'digest', ${tableDigest},
            'isPartitioned', c.relkind = 'p', 'isRowSecured', c.relrowsecurity,
            'columns', (SELECT coalesce(json_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_attribute a
                         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
            'primaryKey', coalesce(${keyColumns}, '[]'),
            'access', (SELECT coalesce(json_agg(json_build_object(
                'role', r.rolname,
                'filtered', c.relrowsecurity AND NOT (r.rolsuper OR r.rolbypassrls)
                            AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE')),
                'selectable', (SELECT coalesce(json_agg(a.attname), '[]') FROM pg_attribute a
                                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                                  AND has_schema_privilege(r.oid, n.oid, 'USAGE')
                                  AND has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT')))), '[]')
                FROM pg_roles r WHERE r.rolname = ANY($2::text[])))), '[]')
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY($1::oid[])) AS tables`;

interface DescribedTable {
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
  readonly digest: string;
  readonly isPartitioned: boolean;
  readonly isRowSecured: boolean;
  readonly columns: readonly string[];
  readonly primaryKey: readonly KeyColumn[];
  readonly access: readonly { readonly role: string; readonly filtered: boolean; readonly selectable: string[] }[];
}

export interface Described extends Omit<Digests, "tables"> {
  readonly tables: readonly DescribedTable[];
}

/** What each of the table's described roles may do. */
export function accessOf(described: DescribedTable): TableAccess[] {
  const { oid, schema, table, isPartitioned, isRowSecured, primaryKey } = described;
  const columns = new Set(described.columns);
  const facts: TableFacts = { oid, schema, table, isPartitioned, isRowSecured, columns, primaryKey };
  return described.access.map(({ role, filtered, selectable }) => ({
    facts,
    role,
    selectable: new Set(selectable),
    rows: filtered ? "policies" : "all",
  }));
}
