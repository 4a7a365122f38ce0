import type { Column } from "@walcast/model";
import { JsonBuffer, toBytes, valueWriter, type TypeCatalog } from "@walcast/pgoutput";

/** A row's columns as PostgreSQL writes them as text. */
export type TextRow = readonly (string | null)[];

/** Rows as records, in the very form that changes have them: what comes later is compared with what came first. */
export class RowWriter {
  readonly #columns;
  readonly #buffer = new JsonBuffer(4_096);

  constructor(columns: readonly Column[], types: TypeCatalog) {
    this.#columns = columns.map(({ name, typeOid }, index) => ({
      key: `${index === 0 ? "" : ","}${JSON.stringify(name)}:`,
      write: valueWriter(types, typeOid),
    }));
  }

  write(row: TextRow): Buffer {
    const out = this.#buffer;
    out.clear();
    out.ascii("{");
    for (const [i, { key, write }] of this.#columns.entries()) {
      out.utf8(key);
      const value = row[i];
      if (value === null || value === undefined) {
        out.ascii("null");
        continue;
      }
      const bytes = toBytes(value);
      write(out, bytes, 0, bytes.length);
    }
    out.ascii("}");
    return Buffer.from(out.toBytes().buffer);
  }
}
