/** One row of pg_type, as far as writing values needs it. */
export interface TypeInfo {
  readonly oid: number;
  readonly name: string;
  /** pg_type.typtype: base, composite, domain, enum, pseudo, range, multirange. */
  readonly kind: "b" | "c" | "d" | "e" | "p" | "r" | "m";
  /** A domain's base type. */
  readonly baseOid?: number;
  /** A true array's element type. */
  readonly elementOid?: number;
  /** What separates this type's elements in array text; `,` for all but `box`. */
  readonly delimiter: string;
  /** A composite type's attributes, in order. */
  readonly attributes?: readonly { readonly name: string; readonly typeOid: number }[];
}

/** The types of the source database by OID. Filled by whoever can ask the database; only read here. */
export type TypeCatalog = ReadonlyMap<number, TypeInfo>;

/** The type under any domains; the type itself when it is none, `undefined` when it is unknown. */
export function baseTypeOf(types: TypeCatalog, oid: number): TypeInfo | undefined {
  let type = types.get(oid);
  for (let depth = 0; type?.kind === "d" && type.baseOid !== undefined && depth < 64; depth++) {
    type = types.get(type.baseOid);
  }
  return type;
}
