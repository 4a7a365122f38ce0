import { decodeBatch, encodeBatch, transactionLine, type Batch } from "@walcast/change-log";
import { Groups, identify, parseBinding, type Audience } from "@walcast/gateway";
import { median } from "./statistics.ts";

/** How many subscriptions with different `id=eq.N` there are. */
const sizes = [10, 1_000, 100_000] as const;
const rounds = 9;
const batchesPerRound = 10;
/** As many as a batch of the log holds of rows like these. */
const changesPerBatch = 2_000;

type Relation = Batch["relation"];
type Position = Batch["first"];

const column = (name: string, type: string, isKey = false) => ({ name, type, typeOid: 0, typeModifier: -1, isKey });
const orders: Relation = {
  oid: 16_385,
  schema: "public",
  table: "orders",
  replicaIdentity: "d",
  columns: [
    column("id", "int8", true),
    column("customer", "int4"),
    column("total", "numeric"),
    column("note", "text"),
    column("at", "timestamptz"),
  ],
};

/** Groups tell serializers apart by this alone. */
const serializer = { vsn: "2.0.0" } as Audience["serializer"];

interface Case {
  readonly size: number;
  readonly groups: Groups;
  readonly batches: readonly Uint8Array[];
  readonly nanoseconds: number[];
}

/** Reading changes from encoded batches and finding who wants them, which for each change is one of the subscriptions. */
export async function benchMatch(only: string | undefined): Promise<void> {
  const cases = sizes.filter((size) => only === undefined || only === String(size)).map((size) => makeCase(size));
  for (const one of cases) measure(one); // warm
  for (let round = 0; round < rounds; round++) {
    for (const one of cases) one.nanoseconds.push(measure(one));
  }
  const medians = new Map(cases.map(({ size, nanoseconds }) => [size, median(nanoseconds)]));
  for (const [size, nanoseconds] of medians) print({ case: String(size), ns_per_change: Math.round(nanoseconds) });
  const [small, large] = [medians.get(10), medians.get(100_000)];
  if (small !== undefined && large !== undefined) {
    print({ case: "100000/10", ratio: Number((large / small).toFixed(2)) });
  }
}

const print = (line: object): void => console.log(JSON.stringify({ bench: "match", ...line }));

function makeCase(size: number): Case {
  const groups = new Groups();
  for (let id = 0; id < size; id++) {
    const request = { event: "*", schema: "public", table: "orders", filter: `id=eq.${id}` };
    const bindings = identify([request]).map(parseBinding);
    groups.enter({ topic: `realtime:order-${id}`, serializer, dialect: "current", bindings });
  }
  const batches = Array.from({ length: batchesPerRound }, (_, number) => makeBatch(number * changesPerBatch, size));
  return { size, groups, batches, nanoseconds: [] };
}

/** Rows in no order of their ids, as they come from many clients. */
function makeBatch(start: number, size: number): Uint8Array {
  const commitLsn = 0x16b3748n as Position["commitLsn"];
  const commit = { commitLsnText: "0/16B3748", committedAtMicros: 1_700_000_000_000_000, xid: 7, index: start };
  const rows = Array.from({ length: changesPerBatch }, (_, i) => {
    const id = ((start + i) * 7_919) % size;
    const note = JSON.stringify(`a note of ordinary length about order ${id}`);
    return `I\t{"id":${id},"customer":${i % 1000},"total":${i % 99}.50,"note":${note},"at":"2024-02-29T10:00:00+00:00"}\n`;
  });
  const batch: Batch = {
    relation: orders,
    first: { epoch: 1, commitLsn, index: start },
    last: { epoch: 1, commitLsn, index: start + changesPerBatch - 1 },
    lines: Buffer.from(transactionLine(commit) + rows.join("")),
  };
  return encodeBatch(batch, undefined);
}

/** Nanoseconds per change. */
function measure({ groups, batches }: Case): number {
  let matched = 0;
  const started = performance.now();
  for (const batch of batches) {
    for (const change of decodeBatch(batch).changes()) matched += groups.index.match(orders, change).length;
  }
  const elapsedMs = performance.now() - started;
  const changes = batchesPerRound * changesPerBatch;
  if (matched !== changes) throw new Error(`${matched} of ${changes} changes were matched`);
  return (elapsedMs * 1e6) / changes;
}
