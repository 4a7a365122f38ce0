import type { Column, Relation } from "@walcast/model";
import { baseTypeOf, type RelationMessage, type TypeInfo } from "@walcast/pgoutput";
import type { ClientBase } from "pg";

/** A true array is variable-length and of category A; int2vector (22) and oidvector (30) print as plain text. */
const typeQuery = `
  SELECT t.oid::int8 AS oid, t.typname AS name, t.typtype AS kind, t.typdelim AS delimiter,
         nullif(t.typbasetype, 0)::int8 AS base_oid,
         CASE WHEN t.typcategory = 'A' AND t.typlen = -1 AND t.oid NOT IN (22, 30) THEN t.typelem::int8 END AS element_oid,
         CASE WHEN t.typtype = 'c' THEN (
           SELECT json_agg(json_build_object('name', a.attname, 'typeOid', a.atttypid::int8) ORDER BY a.attnum)
             FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
         ) END AS attributes
    FROM pg_type t`;

interface TypeRow {
  readonly oid: string;
  readonly name: string;
  readonly kind: TypeInfo["kind"];
  readonly delimiter: string;
  readonly base_oid: string | null;
  readonly element_oid: string | null;
  readonly attributes: { name: string; typeOid: number }[] | null;
}

/** The types of the source database by OID, asked for once and again when a relation uses one that is not known yet. */
export class Catalog {
  readonly #client: ClientBase;
  readonly types: Map<number, TypeInfo>;

  /** `types`: what is known already, and where more is kept. */
  constructor(client: ClientBase, types = new Map<number, TypeInfo>()) {
    this.#client = client;
    this.types = types;
  }

  async loadBuiltIn(): Promise<void> {
    const { rows } = await this.#client.query<TypeRow>(
      `${typeQuery} WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype <> 'c'`,
    );
    for (const row of rows) this.#keep(row);
  }

  /** Makes the relation's types known, with those they are made of. User types are asked for again: they may have changed. */
  async learn(message: Pick<RelationMessage, "columns">): Promise<void> {
    const asked = new Set<number>();
    let wanted = message.columns.map((column) => column.typeOid).filter((oid) => !this.#isBuiltIn(oid));
    while (wanted.length > 0) {
      for (const oid of wanted) asked.add(oid);
      const { rows } = await this.#client.query<TypeRow>(`${typeQuery} WHERE t.oid = ANY($1::oid[])`, [wanted]);
      const next = rows.map((row) => this.#keep(row)).flatMap(partsOf);
      wanted = [...new Set(next)].filter((oid) => !asked.has(oid) && !this.#isBuiltIn(oid));
    }
  }

  /** The relation with its types' names, as it goes into the log. */
  describe(message: RelationMessage): Relation {
    const columns = message.columns.map((column): Column => {
      const type = this.types.get(column.typeOid)?.name ?? String(column.typeOid);
      const baseType = baseTypeOf(this.types, column.typeOid)?.name ?? type;
      return { ...column, type, ...(baseType === type ? {} : { baseType }) };
    });
    const { oid, schema, table, replicaIdentity } = message;
    return { oid, schema, table, replicaIdentity, columns };
  }

  /** Below FirstNormalObjectId a type is PostgreSQL's own and never changes. */
  #isBuiltIn = (oid: number): boolean => oid < 16_384 && this.types.has(oid);

  #keep(row: TypeRow): TypeInfo {
    const type: TypeInfo = {
      oid: Number(row.oid),
      name: row.name,
      kind: row.kind,
      delimiter: row.delimiter,
      ...(row.base_oid === null ? {} : { baseOid: Number(row.base_oid) }),
      ...(row.element_oid === null ? {} : { elementOid: Number(row.element_oid) }),
      ...(row.attributes === null ? {} : { attributes: row.attributes }),
    };
    this.types.set(type.oid, type);
    return type;
  }
}

const partsOf = (type: TypeInfo): number[] =>
  [type.baseOid, type.elementOid, ...(type.attributes ?? []).map((attribute) => attribute.typeOid)].filter(
    (oid) => oid !== undefined,
  );
