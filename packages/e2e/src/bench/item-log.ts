import { NatsChangeLog, transactionLine, type Batch, type ChangeLogWriter } from "@walcast/change-log";

// A change log that benches write by themselves, as an ingester would: rows of 300 bytes of one table.

const rowBytes = 300;
export const note = "n".repeat(rowBytes - 60);

/** Its connection keeps the process alive until it is closed. */
export type BenchWriter = Pick<ChangeLogWriter, "append" | "close">;

export async function openWriter(url: string, source: string): Promise<BenchWriter> {
  const changeLog = await NatsChangeLog.connect({
    url,
    name: "bench",
    source,
    backoff: () => Promise.resolve(),
    writing: {
      firstEpoch: () => 1,
      retentionMs: 3_600_000,
      retentionBytes: 256 * 2 ** 20,
      replicas: 1,
      batchBytes: 262_144,
      syncIntervalMs: 0,
      ackTimeoutMs: 5_000,
    },
  });
  const writer = await changeLog.openWriter();
  return { append: (batch) => writer.append(batch), close: () => changeLog.close() };
}

const column = (name: string, type: string, isKey = false) => ({ name, type, typeOid: 25, typeModifier: -1, isKey });
const items: Batch["relation"] = {
  oid: 16_385,
  schema: "public",
  table: "items",
  replicaIdentity: "d",
  columns: [column("id", "int8", true), column("t", "text"), column("note", "text")],
};
export const createItems = "CREATE TABLE items (id bigint PRIMARY KEY, t text, note text)";

/** Transaction `number`, of so many rows that carry the stamp. */
export function makeBatch(number: number, { stamp, changes }: { stamp: string; changes: number }): Batch {
  const commitLsn = (BigInt(number) * 8n) as Batch["first"]["commitLsn"];
  const commit = { commitLsnText: `0/${(number * 8).toString(16)}`, committedAtMicros: 1, xid: number, index: 0 };
  let lines = transactionLine(commit);
  for (let i = 0; i < changes; i++) lines += `I\t{"id":${number * changes + i},"t":"${stamp}","note":"${note}"}\n`;
  const at = (index: number) => ({ epoch: 1, commitLsn, index });
  return { relation: items, first: at(0), last: at(changes - 1), lines: Buffer.from(lines) };
}
