/** `error`: changes do not flow, or not to whom they should. `warning`: they will stop, or come late. `note`: good to know. */
export type Severity = "error" | "warning" | "note";

export interface Fix {
  /** A statement for the source database, a setting of walcast, or something to do elsewhere. */
  readonly kind: "sql" | "setting" | "elsewhere";
  /** As people run it: of several statements each has a line. */
  readonly text: string;
  /** Those of SQL, to be sent one by one: PostgreSQL refuses ALTER SYSTEM as one of several. Empty for the rest. */
  readonly statements: readonly string[];
  /** Nothing that works stops working by it, and it can be undone: `--fix` runs it. Only ever true for SQL. */
  readonly isSafe: boolean;
}

/** One thing that is not as it should be. */
export interface Finding {
  readonly severity: Severity;
  /** Stable, for scripts. */
  readonly code: string;
  /** The table, slot, server or setting that it is about. */
  readonly subject: string;
  readonly reason: string;
  readonly fix: Fix;
}

export const sql = (text: string, { isSafe = false }: { readonly isSafe?: boolean } = {}): Fix => ({
  kind: "sql",
  text,
  statements: [text],
  isSafe,
});

/** A setting of the server that needs no restart. */
export function serverSetting(name: string, value: string, remark?: string): Fix {
  const statements = [`ALTER SYSTEM SET ${name} = '${value}'`, "SELECT pg_reload_conf()"];
  const text = statements.map((statement) => `${statement};`).join("\n");
  return { kind: "sql", text: remark === undefined ? text : `${text} -- ${remark}`, statements, isSafe: false };
}

export const setting = (text: string): Fix => ({ kind: "setting", text, statements: [], isSafe: false });
export const elsewhere = (text: string): Fix => ({ kind: "elsewhere", text, statements: [], isSafe: false });
