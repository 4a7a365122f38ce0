/** A change as the log tells it, as far as counting needs it. */
export interface SeenChange {
  readonly kind: "insert" | "update" | "delete";
  readonly table: string;
  readonly writer: number;
  readonly n: number;
  /** How often the row was updated; undefined for a delete. */
  readonly version: number | undefined;
}

/** What the tables hold in the end. The database is the truth: a commit whose connection broke may have happened or not. */
export interface CommittedRow {
  readonly table: string;
  readonly writer: number;
  readonly n: number;
  readonly version: number;
  readonly isDeleted: boolean;
}

export interface Verdict {
  /** Changes that the tables prove. */
  readonly committed: number;
  readonly lost: number;
  readonly repeated: number;
  readonly outOfOrder: number;
  /** Changes of the log that the tables know nothing of, as of a transaction that was rolled back. */
  readonly invented: number;
  /** The first few of all of them, in words. */
  readonly examples: readonly string[];
}

interface SeenRow {
  version: number;
  isDeleted: boolean;
}

const exampleLimit = 20;

/**
 * Every row is inserted with version 0, each update adds 1, and a delete leaves a tombstone: so the last state of a row
 * says which changes the log must hold. A writer's numbers grow with its commits, over all tables.
 */
export function compareWithTables(changes: Iterable<SeenChange>, rows: readonly CommittedRow[]): Verdict {
  const examples: string[] = [];
  const count = { lost: 0, repeated: 0, outOfOrder: 0, invented: 0 };
  const note = (what: keyof typeof count, times: number, row: { table: string; writer: number; n: number }): void => {
    count[what] += times;
    if (examples.length < exampleLimit)
      examples.push(`${what}: ${row.table} writer ${row.writer} n ${row.n} (${times})`);
  };
  const seen = new Map<string, SeenRow>();
  const lastOf = new Map<number, number>();
  for (const change of changes) {
    const known = seen.get(keyOf(change));
    if (change.kind === "insert") {
      if (known !== undefined) {
        note("repeated", 1, change);
        continue;
      }
      if (change.n <= (lastOf.get(change.writer) ?? -1)) note("outOfOrder", 1, change);
      lastOf.set(change.writer, Math.max(change.n, lastOf.get(change.writer) ?? -1));
      seen.set(keyOf(change), { version: 0, isDeleted: false });
    } else if (known === undefined) {
      note("outOfOrder", 1, change);
    } else if (change.kind === "delete") {
      if (known.isDeleted) note("repeated", 1, change);
      known.isDeleted = true;
    } else {
      const version = change.version ?? 0;
      if (known.isDeleted || version <= known.version) note("repeated", 1, change);
      else if (version > known.version + 1) note("lost", version - known.version - 1, change);
      known.version = Math.max(version, known.version);
    }
  }
  let committed = 0;
  for (const row of rows) {
    committed += 1 + row.version + (row.isDeleted ? 1 : 0);
    const told = seen.get(keyOf(row));
    seen.delete(keyOf(row));
    if (told === undefined) {
      note("lost", 1 + row.version + (row.isDeleted ? 1 : 0), row);
      continue;
    }
    if (told.version < row.version) note("lost", row.version - told.version, row);
    if (told.version > row.version) note("invented", told.version - row.version, row);
    if (row.isDeleted && !told.isDeleted) note("lost", 1, row);
    if (!row.isDeleted && told.isDeleted) note("invented", 1, row);
  }
  for (const [key] of seen) {
    const [table = "", writer, n] = key.split(" ");
    note("invented", 1, { table, writer: Number(writer), n: Number(n) });
  }
  return { committed, ...count, examples };
}

const keyOf = (row: { readonly table: string; readonly writer: number; readonly n: number }): string =>
  `${row.table} ${row.writer} ${row.n}`;
