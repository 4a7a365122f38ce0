import { readdirSync, readFileSync } from "node:fs";

/** One object of the schema, with the SQL that makes it. */
export interface Migration {
  readonly version: number;
  readonly kind: "table" | "function";
  /** As in `DROP FUNCTION …`, and as to_regprocedure and to_regclass read it. */
  readonly identity: string;
  readonly sql: string;
}

/** Beside `src` and `dist` alike. */
const folder = new URL("../sql/", import.meta.url);

/** All migrations in order. A file makes one object, which its first line names. */
export function readMigrations(): readonly Migration[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".sql"))
    .toSorted()
    .map((file) => {
      const sql = readFileSync(new URL(file, folder), "utf8");
      const [, kind, identity] = /^-- object: (table|function) (.+)\n/u.exec(sql) ?? [];
      const version = Number(file.slice(0, 4));
      if ((kind !== "table" && kind !== "function") || identity === undefined || !Number.isInteger(version)) {
        throw new Error(`${file} does not begin with its number and the line that names its object`);
      }
      return { version, kind, identity, sql };
    });
}
