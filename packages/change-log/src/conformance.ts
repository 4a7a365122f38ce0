// Over 400 lines: what every change log does, in one suite that both adapters run as a whole.

import { formatPosition, parsePosition, type Position, type Relation } from "@walcast/model";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { messageRelation, transactionLine, type Batch, type ChangeKind, type LoggedChange } from "./batch.ts";
import { AppendRefusedError } from "./errors.ts";
import type { ChangeLog, LogEntry, Reading, ReadOptions } from "./ports.ts";

export const todos: Relation = {
  oid: 16_385,
  schema: "public",
  table: "todos",
  replicaIdentity: "f",
  columns: [{ name: "id", type: "int4", typeOid: 23, typeModifier: -1, isKey: true }],
};

/** One change to be written; parts that are left out are not written. */
export interface ExampleChange {
  /** `1.0/64.2`: epoch, commit LSN, index. */
  readonly at: string;
  readonly kind?: ChangeKind;
  readonly committedAtMicros?: number;
  readonly xid?: number;
  readonly record?: string;
  readonly old?: string;
  readonly unchanged?: string;
}

export function position(text: string): Position {
  const parsed = parsePosition(text);
  if (parsed === undefined) throw new Error(`${text} is no position`);
  return parsed;
}

const letters: Readonly<Record<ChangeKind, string>> = {
  insert: "I",
  update: "U",
  delete: "D",
  truncate: "T",
  message: "M",
};

/** A batch as the ingester makes it: a transaction's line stands before its first change. */
export function makeBatch(changes: readonly ExampleChange[], relation: Relation = todos): Batch {
  let lines = "";
  let transaction: string | undefined;
  for (const { at, kind = "insert", committedAtMicros = 1_700_000_000_123_456, xid = 700, ...change } of changes) {
    const [, commitLsnText = "", index] = at.split(".");
    if (transaction !== commitLsnText) {
      lines += transactionLine({
        commitLsnText,
        committedAtMicros,
        xid,
        index: Number(index),
      });
    }
    transaction = commitLsnText;
    const record = change.record ?? (kind === "insert" || kind === "update" ? `{"id":${index}}` : undefined);
    const parts = [letters[kind], record, change.old, change.unchanged].filter((part) => part !== undefined);
    lines += `${parts.join("\t")}\n`;
  }
  const [first, last] = [changes[0], changes.at(-1)];
  if (first === undefined || last === undefined) throw new Error("a batch holds a change at least");
  return { relation, first: position(first.at), last: position(last.at), lines: Buffer.from(lines) };
}

/** `makeBatch` of one insert at each place. */
export const insertsAt = (...places: readonly string[]): Batch => makeBatch(places.map((at) => ({ at })));

export const plain = (change: LoggedChange): ExampleChange & { kind: ChangeKind } => ({
  at: formatPosition(change.position),
  kind: change.kind,
  committedAtMicros: change.committedAtMicros,
  xid: change.xid,
  ...(change.record === undefined ? {} : { record: change.record.toString() }),
  ...(change.oldRecord === undefined ? {} : { old: change.oldRecord.toString() }),
  ...(change.unchanged === undefined ? {} : { unchanged: change.unchanged.toString() }),
});

/** What a reader makes of an entry: the places of its changes, or of the gap. */
export function placesOf(entry: LogEntry): readonly string[] {
  if (entry.tag === "gap") return [`gap ${formatPosition(entry.after)} ${formatPosition(entry.end)}`];
  return [...entry.batch.changes(entry.after)].map((change) => formatPosition(change.position));
}

/** Takes entries from a reading as they come, so that a test waits for exactly what it expects. */
export class EntryTaker {
  readonly #entries: AsyncIterator<LogEntry>;
  #left: string[] = [];

  constructor(reading: Reading) {
    this.#entries = reading[Symbol.asyncIterator]();
  }

  async entry(): Promise<LogEntry | undefined> {
    const next = await this.#entries.next();
    return next.done === true ? undefined : next.value;
  }

  /** The next `count` changes and gaps. */
  async places(count: number): Promise<readonly string[]> {
    while (this.#left.length < count) {
      const entry = await this.entry();
      if (entry === undefined) break;
      this.#left.push(...placesOf(entry));
    }
    return this.#left.splice(0, count);
  }

  async leave(): Promise<void> {
    await this.#entries.return?.();
  }
}

export interface ChangeLogSubject {
  /** A log without history. It is closed by the suite. */
  readonly create: () => Promise<ChangeLog>;
}

/** What every change log does: the suite that all adapters run. */
export function describeChangeLog(name: string, { create }: ChangeLogSubject): void {
  describe(`${name} is a change log that`, () => {
    let log: ChangeLog;
    let stop: AbortController;
    beforeEach(async () => {
      stop = new AbortController();
      log = await create();
    });
    afterEach(async () => {
      stop.abort();
      await log.close();
    });

    const read = async (from: ReadOptions["from"]): Promise<EntryTaker> =>
      new EntryTaker(await log.read({ from, signal: stop.signal }));
    const readAfter = (text: string): Promise<EntryTaker> => read({ after: position(text) });

    it("carries the trace of a batch beside it, also of one in parts", async () => {
      const writer = await log.openWriter();
      const reader = await read("now");
      const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
      const large = { at: "1.0/80.0", record: JSON.stringify({ id: "x".repeat(writer.batchBytesLimit * 2) }) };
      const batches = [makeBatch([{ at: "1.0/64.0" }]), makeBatch([large]), makeBatch([{ at: "1.0/96.0" }])];
      const beforeMs = Date.now();
      await Promise.all(batches.map((batch, i) => writer.append(i === 2 ? batch : { ...batch, traceparent })));
      for (const traced of [true, true, false]) {
        const entry = await reader.entry();
        const trace = entry?.tag === "batch" ? entry.batch.trace : undefined;
        expect(trace?.traceparent).toBe(traced ? traceparent : undefined);
        if (traced) expect(trace?.storedAtMs).toBeGreaterThanOrEqual(beforeMs);
      }
    });

    it("gives every part of every change back, in order", async () => {
      const first: readonly ExampleChange[] = [
        { at: "1.0/64.0", kind: "insert", committedAtMicros: 1_700_000_000_000_001, xid: 1, record: '{"id":1}' },
        {
          at: "1.0/64.1",
          kind: "update",
          committedAtMicros: 1_700_000_000_000_001,
          xid: 1,
          record: '{"id":1,"name":"ünïcode 🎈"}',
          old: '{"id":1}',
          unchanged: '["body"]',
        },
        { at: "1.0/C8.0", kind: "delete", committedAtMicros: 1_700_000_000_999_999, xid: 2, old: '{"id":1}' },
        { at: "1.0/C8.1", kind: "truncate", committedAtMicros: 1_700_000_000_999_999, xid: 2 },
      ];
      const second: readonly ExampleChange[] = [
        {
          at: "1.FFFFFFFF/FFFFFFFF.7",
          kind: "update",
          committedAtMicros: 0,
          xid: 4_294_967_295,
          record: "{}",
          old: "{}",
        },
      ];
      const other: Relation = { ...todos, oid: 7, table: "other", replicaIdentity: "d", columns: [] };
      const writer = await log.openWriter();
      const reader = await read("now");
      await writer.append(makeBatch(first));
      await writer.append(makeBatch(second, other));
      for (const [changes, relation] of [
        [first, todos],
        [second, other],
      ] as const) {
        const entry = await reader.entry();
        if (entry?.tag !== "batch") throw new Error("expected a batch");
        expect(entry.batch.relation.parse()).toEqual(relation);
        expect([...entry.batch.changes(entry.after)].map(plain)).toEqual(changes);
      }
    });

    it("shows a reader that begins now only what comes later", async () => {
      const writer = await log.openWriter();
      await writer.append(insertsAt("1.0/1.0", "1.0/1.1"));
      const reading = await log.read({ from: "now", signal: stop.signal });
      expect(reading.start).toEqual(position("1.0/1.1"));
      await writer.append(insertsAt("1.0/2.0"));
      expect(await new EntryTaker(reading).places(1)).toEqual(["1.0/2.0"]);
    });

    it("says that a reader that begins now on a new log is at its beginning", async () => {
      const writer = await log.openWriter();
      const reading = await log.read({ from: "now", signal: stop.signal });
      expect(reading.start).toEqual(position("1.0/0.0"));
      await writer.append(insertsAt("1.0/2.0"));
      expect(await new EntryTaker(reading).places(1)).toEqual(["1.0/2.0"]);
    });

    it.each([
      ["the first change", "1.0/8.0", ["1.0/8.1", "1.0/10.0", "1.0/18.0", "1.0/18.1", "1.0/18.2", "1.0/20.0"]],
      ["one in the middle of a batch", "1.0/18.0", ["1.0/18.1", "1.0/18.2", "1.0/20.0"]],
      ["the last one of a batch", "1.0/10.0", ["1.0/18.0", "1.0/18.1", "1.0/18.2", "1.0/20.0"]],
      ["the last one of all", "1.0/20.0", []],
      ["a place between two changes", "1.0/10.7", ["1.0/18.0", "1.0/18.1", "1.0/18.2", "1.0/20.0"]],
      [
        "a place before the oldest one, of which it tells",
        "1.0/0.5",
        ["gap 1.0/0.5 1.0/7.0", "1.0/8.0", "1.0/8.1", "1.0/10.0", "1.0/18.0", "1.0/18.1", "1.0/18.2", "1.0/20.0"],
      ],
    ])("reads on after %s", async (_, after, expected) => {
      const writer = await log.openWriter();
      await writer.append(insertsAt("1.0/8.0", "1.0/8.1", "1.0/10.0"));
      await writer.append(insertsAt("1.0/18.0", "1.0/18.1", "1.0/18.2"));
      await writer.append(insertsAt("1.0/20.0"));
      const reader = await readAfter(after);
      expect(await reader.places(expected.length)).toEqual(expected);
      await writer.append(insertsAt("1.0/28.0"));
      expect(await reader.places(1)).toEqual(["1.0/28.0"]);
    });

    it("keeps appends that overlap in the order of the calls", async () => {
      const writer = await log.openWriter();
      const reader = await read("now");
      const places = Array.from({ length: 200 }, (_, index) => `1.0/${(index + 1).toString(16).toUpperCase()}.0`);
      await Promise.all(places.map((place) => writer.append(insertsAt(place))));
      expect(await reader.places(places.length)).toEqual(places);
      expect(await (await readAfter("1.0/1.0")).places(places.length - 1)).toEqual(places.slice(1));
    });

    // The former writer's second message in flight expected just what the log ended with after the other's first.
    it.each([0, 1, 7])("refuses all of a former writer's overlapping appends after another's %i", async (count) => {
      const former = await log.openWriter();
      await former.append(insertsAt("1.0/1.0"));
      const reader = await readAfter("1.0/1.0");
      const next = await log.openWriter();
      const places = Array.from({ length: 300 }, (_, index) => `1.0/${(index + 2).toString(16).toUpperCase()}.0`);
      for (const place of places.slice(0, count)) await next.append(insertsAt(place));
      const refused = await Promise.allSettled(places.map((place) => former.append(insertsAt(place))));
      expect(refused.filter(({ status }) => status === "fulfilled")).toEqual([]);
      for (const result of refused) expect(result).toMatchObject({ reason: expect.any(AppendRefusedError) });
      await expect(former.append(insertsAt("1.0/FF.0"))).rejects.toMatchObject({ code: "APPEND_REFUSED" });
      await Promise.all(places.slice(count).map((place) => next.append(insertsAt(place))));
      expect(await reader.places(places.length)).toEqual(places);
    });

    it("refuses a former writer's appends also when there was nothing in the log", async () => {
      const former = await log.openWriter();
      const next = await log.openWriter();
      expect(next.last).toBeUndefined();
      await next.append(insertsAt("1.0/1.0"));
      const reader = await readAfter("1.0/1.0");
      const refused = await Promise.allSettled(
        ["1.0/1.0", "1.0/2.0", "1.0/3.0"].map((at) => former.append(insertsAt(at))),
      );
      expect(refused.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
      await next.append(insertsAt("1.0/2.0"));
      expect(await reader.places(1)).toEqual(["1.0/2.0"]);
    });

    it("tells a new writer where the log ends, and goes on without a gap", async () => {
      const former = await log.openWriter();
      expect(former.last).toBeUndefined();
      expect(former.epoch).toBe(1);
      const reader = await read("now");
      await former.append(insertsAt("1.0/1.0", "1.0/1.1"));
      await former.close();
      const next = await log.openWriter();
      expect(next.last).toEqual(position("1.0/1.1"));
      expect(next.epoch).toBe(1);
      await next.append(insertsAt("1.0/2.0"));
      expect(await reader.places(3)).toEqual(["1.0/1.0", "1.0/1.1", "1.0/2.0"]);
      expect(await (await readAfter("1.0/1.0")).places(2)).toEqual(["1.0/1.1", "1.0/2.0"]);
    });

    it("remembers where changes are read from", async () => {
      const writer = await log.openWriter();
      expect(writer.origin).toBeUndefined();
      await writer.recordOrigin("7/1");
      expect(writer.origin).toBe("7/1");
      expect((await log.openWriter()).origin).toBe("7/1");
    });

    it("carries messages of pg_logical_emit_message between changes, in order", async () => {
      const writer = await log.openWriter();
      const reader = await readAfter("1.0/1.0");
      await writer.append(insertsAt("1.0/2.0"));
      await writer.append(makeBatch([{ at: "1.0/2.1", kind: "message", record: '{"prefix":"p"}' }], messageRelation));
      await writer.append(insertsAt("1.0/2.2"));
      expect((await reader.places(4)).slice(-3)).toEqual(["1.0/2.0", "1.0/2.1", "1.0/2.2"]);
    });

    it("tells readers of a gap where the epoch was raised", async () => {
      const writer = await log.openWriter();
      await writer.append(insertsAt("1.0/9.0"));
      const reader = await readAfter("1.0/9.0");
      await writer.raiseEpoch({ origin: "7/2", startLsn: position("2.0/5.0").commitLsn });
      expect([writer.epoch, writer.origin, writer.last]).toEqual([2, "7/2", undefined]);
      await writer.append(insertsAt("2.0/5.0"));
      await writer.append(insertsAt("2.0/6.0"));
      const expected = ["gap 1.0/9.0 2.0/4.0", "2.0/5.0", "2.0/6.0"];
      expect(await reader.places(3)).toEqual(expected);
      expect(await (await readAfter("1.0/9.0")).places(3)).toEqual(expected);
      expect((await log.openWriter()).epoch).toBe(2);
    });

    it("tells of the gap who read before the first epoch with a source began", async () => {
      const writer = await log.openWriter();
      const reader = await read("now");
      await writer.raiseEpoch({ origin: "7/1", startLsn: position("2.0/5.0").commitLsn });
      await writer.append(insertsAt("2.0/5.0"));
      expect(await reader.places(2)).toEqual(["gap 1.0/0.0 2.0/4.0", "2.0/5.0"]);
    });

    it("remembers that it is not known yet where changes will be read from", async () => {
      const writer = await log.openWriter();
      await writer.recordOrigin("7/1");
      await writer.raiseEpoch({ origin: undefined, startLsn: position("2.0/5.0").commitLsn });
      expect(writer.origin).toBeUndefined();
      const next = await log.openWriter();
      expect([next.epoch, next.origin]).toEqual([2, undefined]);
    });

    it("tells of the gap at once, also when the writer that raised the epoch never appends a change", async () => {
      const former = await log.openWriter();
      await former.append(insertsAt("1.0/9.0"));
      const reader = await readAfter("1.0/9.0");
      await former.raiseEpoch({ origin: "7/2", startLsn: position("2.0/5.0").commitLsn });
      expect(await reader.places(1)).toEqual(["gap 1.0/9.0 2.0/4.0"]);
      const next = await log.openWriter();
      expect(next.epoch).toBe(2);
      await next.append(insertsAt("2.0/5.0"));
      expect(await reader.places(1)).toEqual(["2.0/5.0"]);
    });

    it("ends a reading when its signal fires, and only that one", async () => {
      const writer = await log.openWriter();
      const own = new AbortController();
      const ending = new EntryTaker(await log.read({ from: "now", signal: own.signal }));
      const staying = await read("now");
      await writer.append(insertsAt("1.0/1.0"));
      expect(await ending.places(1)).toEqual(["1.0/1.0"]);
      const end = ending.entry();
      own.abort();
      expect(await end).toBeUndefined();
      await writer.append(insertsAt("1.0/2.0"));
      expect(await staying.places(2)).toEqual(["1.0/1.0", "1.0/2.0"]);
    });

    it("lets readers go at their own pace", async () => {
      const writer = await log.openWriter();
      const [quick, slow] = [await read("now"), await read("now")];
      await writer.append(insertsAt("1.0/1.0"));
      await writer.append(insertsAt("1.0/2.0"));
      expect(await quick.places(2)).toEqual(["1.0/1.0", "1.0/2.0"]);
      expect(await slow.places(1)).toEqual(["1.0/1.0"]);
      await writer.append(insertsAt("1.0/3.0"));
      expect(await quick.places(1)).toEqual(["1.0/3.0"]);
      expect(await slow.places(2)).toEqual(["1.0/2.0", "1.0/3.0"]);
    });

    it("does not wait for a reader that left", async () => {
      const writer = await log.openWriter();
      const leaving = await read("now");
      await writer.append(insertsAt("1.0/1.0"));
      await leaving.places(1);
      await leaving.leave();
      const big = JSON.stringify({ id: 1, body: "x".repeat(1_000_000) });
      for (let lsn = 2; lsn < 80; lsn++) {
        await writer.append(makeBatch([{ at: `1.0/${lsn.toString(16)}.0`, record: big }]));
      }
      expect((await log.openWriter()).last).toEqual(position("1.0/4F.0"));
    });

    it("carries a change of several megabytes whole", async () => {
      const writer = await log.openWriter();
      const reader = await read("now");
      const record = JSON.stringify({ id: 1, body: "0123456789".repeat(300_000) });
      await Promise.all([
        writer.append(insertsAt("1.0/1.0")),
        writer.append(makeBatch([{ at: "1.0/2.0", record }])),
        writer.append(insertsAt("1.0/3.0")),
      ]);
      expect(await reader.places(1)).toEqual(["1.0/1.0"]);
      const entry = await reader.entry();
      if (entry?.tag !== "batch") throw new Error("expected a batch");
      expect([...entry.batch.changes(entry.after)].map((change) => change.record?.equals(Buffer.from(record)))).toEqual(
        [true],
      );
      expect(await reader.places(1)).toEqual(["1.0/3.0"]);
      expect(await (await readAfter("1.0/1.0")).places(2)).toEqual(["1.0/2.0", "1.0/3.0"]);
      expect((await log.openWriter()).last).toEqual(position("1.0/3.0"));
    });

    it.each([
      ["dots", "a.b", "c.d"],
      ["spaces", " a b ", "c d"],
      ["NATS's wildcards", "*", ">"],
      ["letters of other scripts", "схема", "表 🎈"],
      ["percent signs", "%2A", "%"],
    ])("takes tables with %s in their names", async (_, schema, table) => {
      const writer = await log.openWriter();
      const reader = await read("now");
      await writer.append(makeBatch([{ at: "1.0/1.0" }], { ...todos, schema, table }));
      const entry = await reader.entry();
      if (entry?.tag !== "batch") throw new Error("expected a batch");
      expect(entry.batch.relation.parse()).toMatchObject({ schema, table });
    });
  });
}
