import { setTimeout as pause } from "node:timers/promises";
import type { NatsChangeLog } from "@walcast/change-log";
import { waitUntil } from "@walcast/testkit";
import { afterEach, expect, it } from "vitest";
import { startChaosSystem, takeSnapshot, type ChaosSystem, type ChaosSystemOptions } from "./chaos-system.ts";
import { compareWithTables } from "./ledger.ts";
import { connectReader, Reading, sequencesOf } from "./log-audit.ts";
import { RoleWatch } from "./takeovers.ts";
import { endMark, readTables } from "./workload.ts";

// Under load the next append fails and tells a leader that the log is not what it was. Here nothing is appended.

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop();
});

interface Observed {
  readonly system: ChaosSystem;
  readonly log: NatsChangeLog;
  readonly reading: Reading;
  readonly insert: (first: number, last: number) => Promise<void>;
}

async function start(options: ChaosSystemOptions): Promise<Observed> {
  const system = await startChaosSystem(options);
  stops.push(() => system.stop());
  const log = await connectReader(system.natsUrl, system.source);
  stops.push(() => log.close());
  const [reading, over] = [new Reading(), new AbortController()];
  const isReading = reading.run(log, over.signal);
  stops.push(() => {
    over.abort();
    return isReading;
  });
  const insert = async (first: number, last: number): Promise<void> => {
    const sql = "INSERT INTO chaos_a (writer, n) SELECT 1, generate_series($1::int, $2::int)";
    await system.withSql((client) => client.query(sql, [first, last]));
    await waitUntil(() => reading.changes.length >= last, { what: `row ${last} in the log` });
  };
  return { system, log, reading, insert };
}

it("a leader that has nothing to append does not confirm what NATS lost", async () => {
  const syncIntervalMs = 3_000;
  const { system, log, reading, insert } = await start({ nats: "single", syncIntervalMs });
  const [nats] = system.nats;
  if (nats === undefined) throw new Error("the system has no NATS server");
  await insert(1, 10);
  const snapshot = takeSnapshot(nats);
  await insert(11, 20);
  await nats.kill9();
  snapshot.restore();
  snapshot.discard();
  await nats.restart();
  await pause(2 * syncIntervalMs); // by now the leader may think that everything is on the log's disk
  await system.withSql((client) => client.query(`INSERT INTO ${endMark} VALUES (1)`));
  await waitUntil(() => reading.hasEnd, { what: "the row after them", timeoutMs: 30_000 });
  const again = new Reading();
  await again.run(log, AbortSignal.timeout(30_000));
  const rows = await system.withSql(readTables);
  expect(compareWithTables(again.changes, rows)).toMatchObject({ committed: 20, lost: 0, repeated: 0 });
  expect([...again.complaints, ...reading.complaints]).toEqual([]);
});

it("a leader that follows when all history has aged away tells no gap where there is none", async () => {
  const { system, log, reading, insert } = await start({ nats: "single", syncIntervalMs: 0, retentionMs: 2_000 });
  await insert(1, 1);
  const [watch, over] = [new RoleWatch(system.ingesters), new AbortController()];
  void watch.run(over.signal);
  stops.push(() => Promise.resolve(over.abort()));
  const isGone = async (): Promise<boolean> => (await sequencesOf(log, system.source)).first_seq > 1;
  await waitUntil(isGone, { what: "the row to age away", timeoutMs: 20_000, intervalMs: 100 });
  const former = await waitUntil(() => watch.leader, { what: "the leader" });
  await former.kill();
  await waitUntil(() => watch.leader !== undefined && watch.leader !== former, { what: "the next leader" });
  await insert(2, 2);
  expect(reading.complaints).toEqual([]);
});
