import type { LogEntry, LoggedRelation, NatsChangeLog, ReadOptions } from "@walcast/change-log";
import type { Client } from "pg";
import { changeTables, markTable, type Change } from "./workload.ts";

type ReadFrom = Exclude<ReadOptions["from"], "now">;

/**
 * The rows in the order of their commits, which only PostgreSQL knows, as the change log tells it. That the log has all of
 * them, and no others, is compared with the tables.
 */
export class CommittedOrder {
  readonly changes: Change[] = [];
  readonly complaints: string[] = [];
  /** The newest mark that has arrived. */
  mark = -1;
  #hasBegun = false;
  #relation: LoggedRelation | undefined;
  #table = "";

  async run(log: NatsChangeLog, signal: AbortSignal): Promise<void> {
    const beginning = { after: { epoch: 1, commitLsn: 0n, index: -1 } } as unknown as ReadFrom;
    for await (const entry of await log.read({ from: beginning, signal })) this.#take(entry);
  }

  #take(entry: LogEntry): void {
    if (entry.tag === "gap") {
      // Nothing precedes the first batch, which a reader that asks for what follows a position must call a gap.
      if (this.#hasBegun) this.complaints.push("the log has a gap, so that the order of the commits is not known");
      return;
    }
    this.#hasBegun = true;
    for (const { relation, record } of entry.batch.changes(entry.after)) {
      if (relation !== this.#relation) [this.#relation, this.#table] = [relation, relation.parse().table];
      const table = this.#table;
      const isMark = table === markTable;
      if (record === undefined || (!isMark && !changeTables.some((one) => one === table))) continue;
      const { id, shard, owner } = JSON.parse(record.toString()) as Omit<Change, "table">;
      if (isMark) this.mark = id;
      else this.changes.push({ id: id, table, shard, owner });
    }
  }

  /** What differs between it and the tables. */
  async compareWithTables(client: Client): Promise<readonly string[]> {
    const all = changeTables.map((table) => `SELECT id FROM ${table}`).join(" UNION ALL ");
    const { rows } = await client.query<{ id: string }>(all);
    const inTables = new Set(rows.map(({ id }) => Number(id)));
    const inLog = new Set(this.changes.map(({ id }) => id));
    const problems: string[] = [];
    if (inLog.size !== this.changes.length) problems.push(`the log has ${this.changes.length - inLog.size} rows twice`);
    const missing = [...inTables].filter((id) => !inLog.has(id));
    const invented = [...inLog].filter((id) => !inTables.has(id));
    if (missing.length > 0) problems.push(`the log lacks ${missing.length} rows, such as ${missing[0]}`);
    if (invented.length > 0) problems.push(`the log invents ${invented.length} rows, such as ${invented[0]}`);
    return problems;
  }
}
