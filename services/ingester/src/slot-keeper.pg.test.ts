import {
  MemoryChangeLog,
  messageRelation,
  transactionLine,
  type ChangeLogWriter,
  type LogEntry,
} from "@walcast/change-log";
import { formatLsn, formatPosition, toLsn, type Position } from "@walcast/model";
import { connectClient, endClient } from "@walcast/postgres";
import { createLogger, Registry } from "@walcast/telemetry";
import { createDatabase, type TestDatabase } from "@walcast/testkit";
import type { Client } from "pg";
import { afterEach, beforeEach, expect, inject, it, vi } from "vitest";
import { createMetrics } from "./metrics.ts";
import { dropSlot } from "./postgres/slot.ts";
import { prepareSlot } from "./slot-keeper.ts";

let database: TestDatabase;
let client: Client;
let metrics: ReturnType<typeof createMetrics>;
/** What a gateway that read from the beginning was told. */
let told: string[];
const changeLog = (): MemoryChangeLog => {
  const log = new MemoryChangeLog();
  void listen(log);
  return log;
};

beforeEach(async () => {
  database = await createDatabase(inject("postgresUrl"));
  client = await connectClient({ connectionString: database.url }, { applicationName: "a test" });
  await client.query("CREATE TABLE t (); CREATE PUBLICATION p FOR TABLE t");
  metrics = createMetrics(new Registry());
  told = [];
});
afterEach(async () => {
  await dropSlot(client, database.name);
  await endClient(client);
  await database.drop();
});

async function listen(log: MemoryChangeLog): Promise<void> {
  const say = (entry: LogEntry): string =>
    entry.tag === "gap" ? `gap ${entry.end.epoch}` : formatPosition(entry.batch.header.last);
  for await (const entry of await log.read({ from: "now", signal: new AbortController().signal }))
    told.push(say(entry));
}

const prepare = (writer: ChangeLogWriter, unreadable?: string, forgotten?: Position) =>
  prepareSlot({
    config: {
      SLOT_NAME: database.name,
      PUBLICATIONS: ["p"],
      CREATE_PUBLICATION: false,
      BATCH_BYTES: 262_144,
      PUBLISH_WINDOW_BYTES: 1_000_000,
      MAX_REPLICATION_LAG_MB: 0,
      TAKEOVER_LIMIT_MS: 3_000,
    },
    database: { connectionString: database.url },
    client,
    writer,
    log: createLogger("a test", { level: "silent", format: "json" }),
    metrics,
    unreadable,
    forgotten,
  });
const losses = async (): Promise<number | undefined> => (await metrics.epochs.get()).values[0]?.value;
const gapsTold = (): string[] => told.filter((entry) => entry.startsWith("gap"));

/** The process dies when it begins an epoch for the so-manieth time. */
const dyingWriter = (writer: ChangeLogWriter, fromCall: number): ChangeLogWriter => {
  let calls = 0;
  return Object.defineProperties(Object.create(writer) as ChangeLogWriter, {
    origin: { get: () => writer.origin },
    raiseEpoch: {
      value: (beginning: Parameters<ChangeLogWriter["raiseEpoch"]>[0]) =>
        ++calls >= fromCall ? Promise.reject(new Error("killed")) : writer.raiseEpoch(beginning),
    },
  });
};

it("a first start begins an epoch where the slot does, and nothing is lost by it", async () => {
  const writer = await changeLog().openWriter();
  const slot = await prepare(writer);
  const beginning = toLsn(slot.confirmedLsn - 1n);
  const entries = ["gap 2", formatPosition({ epoch: 2, commitLsn: beginning, index: 0 })];
  await vi.waitFor(() => expect(told).toEqual(entries));
  expect(await losses()).toBe(0);
});

it("a log and a slot that fit are left alone", async () => {
  const log = changeLog();
  await prepare(await log.openWriter());
  await vi.waitFor(() => expect(told).toHaveLength(2));
  await prepare(await log.openWriter());
  await new Promise(setImmediate);
  expect(told).toHaveLength(2);
});

it("a slot lost a second time, without a change between, is told again", async () => {
  const log = changeLog();
  await prepare(await log.openWriter());
  for (const lost of [1, 2]) {
    const before = gapsTold().length;
    await prepare(await log.openWriter(), "the slot cannot be read");
    await vi.waitFor(() => expect(gapsTold()).toHaveLength(before + 2)); // at once, and when the slot is there
    expect(await losses()).toBe(lost);
  }
});

it("a crash between making the slot and saying so leaves a log that does not go on as if nothing were missing", async () => {
  const log = changeLog();
  await prepare(await log.openWriter());
  await expect(prepare(dyingWriter(await log.openWriter(), 2), "the slot cannot be read")).rejects.toThrow("killed");
  const before = gapsTold().length;
  await prepare(await log.openWriter());
  await vi.waitFor(() => expect(gapsTold()).toHaveLength(before + 1));
});

it("a crash between making the first slot and saying so is told, too", async () => {
  const log = changeLog();
  await expect(prepare(dyingWriter(await log.openWriter(), 1))).rejects.toThrow("killed");
  await prepare(await log.openWriter());
  await vi.waitFor(() => expect(gapsTold()).toHaveLength(1));
});

it("a log made anew for a slot that is there begins where the slot goes on", async () => {
  const slot = await prepare(await changeLog().openWriter());
  told = [];
  expect((await prepare(await changeLog().openWriter())).confirmedLsn).toBe(slot.confirmedLsn);
  await vi.waitFor(() => expect(gapsTold()).toHaveLength(1));
});

it("a log that lost what PostgreSQL has forgotten begins an epoch, and one that ends there goes on", async () => {
  const log = changeLog();
  const writer = await log.openWriter();
  const { confirmedLsn } = await prepare(writer);
  const at = (bytes: bigint): Position => ({ epoch: writer.epoch, commitLsn: toLsn(confirmedLsn + bytes), index: 0 });
  const commit = { commitLsnText: formatLsn(at(8n).commitLsn), committedAtMicros: 0, xid: 0, index: 0 };
  const lines = Buffer.from(`${transactionLine(commit)}M\t{}\n`);
  await writer.append({ relation: messageRelation, first: at(8n), last: at(8n), lines });
  const before = gapsTold().length;
  await client.query("INSERT INTO t DEFAULT VALUES"); // so that the WAL does not end before the log
  for (const held of [undefined, at(0n), at(8n), { ...at(16n), epoch: 1 }]) {
    expect((await prepare(await log.openWriter(), undefined, held)).confirmedLsn).toBe(confirmedLsn);
  }
  expect(gapsTold()).toHaveLength(before);
  await prepare(await log.openWriter(), undefined, at(16n));
  await vi.waitFor(() => expect(gapsTold()).toHaveLength(before + 1));
  expect(await losses()).toBe(1);
});
