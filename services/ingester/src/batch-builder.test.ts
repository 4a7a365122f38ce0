import { decodeBatch, encodeBatch, type Batch } from "@walcast/change-log";
import { formatPosition, parsePosition, type Position, type Relation } from "@walcast/model";
import { decodeMessage, ProtocolError, type TypeCatalog } from "@walcast/pgoutput";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BatchBuilder, type BatchBuilderOptions, type NumberedBatch } from "./batch-builder.ts";

// pgoutput's messages, as the manual has them ("Logical Replication Message Formats").

const int16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
function int64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
}
const bytes = (...parts: readonly (string | Buffer)[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : part)));

const begin = (lsn: number, micros = 0n, xid = 700): Buffer =>
  bytes("B", int64(BigInt(lsn)), int64(micros), int32(xid));
const commit = (lsn: number): Buffer => bytes("C\0", int64(BigInt(lsn)), int64(BigInt(lsn) + 8n), int64(0n));
const relation = (oid: number, table = `t${oid}`): Buffer =>
  bytes("R", int32(oid), "public\0", `${table}\0`, "d", int16(1), "\x01", "id\0", int32(23), int32(0xffff_ffff));
const tuple = (id: string): Buffer => bytes(int16(1), "t", int32(id.length), id);
const insert = (oid: number, id: number): Buffer => bytes("I", int32(oid), "N", tuple(String(id)));
const update = (oid: number, id: number): Buffer => bytes("U", int32(oid), "N", tuple(String(id)));
const remove = (oid: number, id: number): Buffer => bytes("D", int32(oid), "K", tuple(String(id)));
const truncate = (...oids: readonly number[]): Buffer => bytes("T", int32(oids.length), "\0", ...oids.map(int32));
const emitted = (lsn: number, isTransactional: boolean, content = Buffer.from("hello")): Buffer =>
  bytes("M", isTransactional ? "\x01" : "\0", int64(BigInt(lsn)), "prefix\0", int32(content.length), content);

const types: TypeCatalog = new Map([[23, { oid: 23, name: "int4", kind: "b", delimiter: "," }]]);

function describeRelation(message: Uint8Array): Relation {
  const decoded = decodeMessage(message);
  if (decoded.tag !== "relation") throw new Error("not a relation");
  const { oid, schema, table, replicaIdentity, columns } = decoded;
  return { oid, schema, table, replicaIdentity, columns: columns.map((column) => ({ ...column, type: "int4" })) };
}

const build = (options: Partial<BatchBuilderOptions> = {}) =>
  new BatchBuilder({
    types,
    epoch: 1,
    skipUpTo: undefined,
    batchBytesLimit: 1_000_000,
    describe: describeRelation,
    ...options,
  });

/** All batches of these messages, the last one too. */
function batchesOf(messages: readonly Buffer[], builder = build()): NumberedBatch[] {
  const complete = messages.flatMap((message) => builder.add(message));
  const rest = builder.flush();
  return rest === undefined ? complete : [...complete, rest];
}

/** A batch as a reader of the log sees it. */
function read(batch: Batch): string[] {
  const logged = decodeBatch(encodeBatch(batch, undefined));
  return [...logged.changes()].map(({ relation: of, kind, position, record, oldRecord }) =>
    [of.parse().table, kind, formatPosition(position), record, oldRecord]
      .filter((part) => part !== undefined)
      .join(" "),
  );
}
const place = (text: string): Position => {
  const position = parsePosition(text);
  if (position === undefined) throw new Error(`${text} is no position`);
  return position;
};

describe("BatchBuilder", () => {
  it("puts consecutive changes of one relation into one batch, over transactions", () => {
    const [batch, ...others] = batchesOf([
      begin(0x10, 1n, 5),
      relation(1),
      insert(1, 7),
      update(1, 7),
      commit(0x10),
      begin(0x20, 2n, 6),
      remove(1, 7),
      commit(0x20),
    ]);
    expect(others).toEqual([]);
    expect(batch === undefined ? [] : read(batch)).toEqual([
      't1 insert 1.0/10.0 {"id":7}',
      't1 update 1.0/10.1 {"id":7} {"id":7}',
      't1 delete 1.0/20.0 {"id":7}',
    ]);
    expect(batch).toMatchObject({ number: 1, changes: 3, first: place("1.0/10.0"), last: place("1.0/20.0") });
    expect(Buffer.from(batch?.lines ?? []).toString()).toBe(
      `C\t0/10\t946684800000001\t5\t0\nI\t{"id":7}\nU\t{"id":7}\t{"id":7}\n` +
        `C\t0/20\t946684800000002\t6\t0\nD\t{"id":7}\n`,
    );
  });

  const alternating = [
    begin(0x10),
    relation(1),
    relation(2),
    insert(1, 1),
    insert(2, 2),
    insert(2, 3),
    insert(1, 4),
    commit(0x10),
  ];

  it("takes other relations into a batch that is small", () => {
    const [batch, ...others] = batchesOf(alternating);
    expect(others).toEqual([]);
    expect(batch).toMatchObject({ number: 1, changes: 4, isMixed: true });
    expect(batch === undefined ? [] : read(batch)).toEqual([
      't1 insert 1.0/10.0 {"id":1}',
      't2 insert 1.0/10.1 {"id":2}',
      't2 insert 1.0/10.2 {"id":3}',
      't1 insert 1.0/10.3 {"id":4}',
    ]);
  });

  it("keeps a batch mixed once it is, until it is complete", () => {
    const many = Array.from({ length: 100 }, (_, i) => insert((i % 2) + 1, i));
    const batches = batchesOf(
      [begin(0x10), relation(1), relation(2), ...many, commit(0x10)],
      build({ shortRunBytes: 50, batchBytesLimit: 500 }),
    );
    expect(batches.map(({ isMixed }) => isMixed)).toEqual(batches.map(() => true));
    expect(Math.min(...batches.slice(0, -1).map(({ lines }) => lines.length))).toBeGreaterThanOrEqual(500);
    expect(batches.flatMap(read)).toEqual(many.map((_, i) => `t${(i % 2) + 1} insert 1.0/10.${i} {"id":${i}}`));
  });

  it("begins another batch with another relation when the run was long, and numbers them", () => {
    const batches = batchesOf(alternating, build({ shortRunBytes: 0 }));
    expect(batches.map(({ isMixed }) => isMixed)).toEqual([false, false, false]);
    expect(batches.map(read)).toEqual([
      ['t1 insert 1.0/10.0 {"id":1}'],
      ['t2 insert 1.0/10.1 {"id":2}', 't2 insert 1.0/10.2 {"id":3}'],
      ['t1 insert 1.0/10.3 {"id":4}'],
    ]);
    expect(batches.map(({ number }) => number)).toEqual([1, 2, 3]);
  });

  it("tells a relation that is described anew from what it was", () => {
    const messages = [begin(0x10), relation(1), insert(1, 1), relation(1, "renamed"), insert(1, 2), commit(0x10)];
    expect(batchesOf(messages).map(read)).toEqual([
      ['t1 insert 1.0/10.0 {"id":1}', 'renamed insert 1.0/10.1 {"id":2}'],
    ]);
  });

  it("completes a batch that has reached the limit, and says in the next one what transaction it is in", () => {
    const batches = batchesOf(
      [begin(0x10), relation(1), ...[1, 2, 3, 4].map((id) => insert(1, id)), commit(0x10)],
      build({ batchBytesLimit: 50 }),
    );
    expect(batches.map(read)).toEqual([
      ['t1 insert 1.0/10.0 {"id":1}', 't1 insert 1.0/10.1 {"id":2}'],
      ['t1 insert 1.0/10.2 {"id":3}', 't1 insert 1.0/10.3 {"id":4}'],
    ]);
  });

  it("makes of a truncate of several relations one change for each", () => {
    const messages = [begin(0x10), relation(1), relation(2), insert(1, 1), truncate(1, 2), commit(0x10)];
    expect(batchesOf(messages).map(read)).toEqual([
      ['t1 insert 1.0/10.0 {"id":1}', "t1 truncate 1.0/10.1", "t2 truncate 1.0/10.2"],
    ]);
  });

  it("gives a message a place of its own where a commit record begins at its end", () => {
    const transaction = [begin(0x10), relation(1), insert(1, 1), commit(0x10)];
    const builder = build({ shortRunBytes: 0 });
    expect(batchesOf([emitted(0x10, false), ...transaction], builder).flatMap(read)).toHaveLength(2);
    expect(builder.lastChange).toEqual(place("1.0/10.0"));
    const later = build({ skipUpTo: place("1.0/F.0") }); // a leader that finds the message in the log, and no more
    expect(batchesOf([emitted(0x10, false), ...transaction], later).map(read)).toEqual([
      ['t1 insert 1.0/10.0 {"id":1}'],
    ]);
  });

  it("carries emitted messages in order: inside of their transaction, or at their own place", () => {
    const messages = [
      emitted(0x8, false),
      begin(0x10),
      relation(1),
      insert(1, 1),
      emitted(0xc, true),
      insert(1, 2),
      commit(0x10),
      emitted(0x18, false, Buffer.from([0xff])),
    ];
    const record = (isTransactional: boolean, content: string | readonly number[]) =>
      JSON.stringify({
        prefix: "prefix",
        transactional: isTransactional,
        content: Buffer.from(content).toString("base64"),
      });
    expect(batchesOf(messages, build({ shortRunBytes: 0 })).map(read)).toEqual([
      [`$message message 1.0/7.0 ${record(false, "hello")}`],
      ['t1 insert 1.0/10.0 {"id":1}'],
      [`$message message 1.0/10.1 ${record(true, "hello")}`],
      ['t1 insert 1.0/10.2 {"id":2}'],
      [`$message message 1.0/17.0 ${record(false, [0xff])}`],
    ]);
  });

  it("passes over what the log holds already, also in the middle of a transaction", () => {
    const messages = [
      begin(0x10),
      relation(1),
      insert(1, 1),
      commit(0x10),
      begin(0x20),
      insert(1, 2),
      truncate(1),
      insert(1, 3),
      commit(0x20),
      begin(0x30),
      insert(1, 4),
      commit(0x30),
    ];
    const all = batchesOf(messages).flatMap(read);
    for (const [index, line] of all.entries()) {
      const skipUpTo = place(line.split(" ")[2] ?? "");
      const batches = batchesOf(messages, build({ skipUpTo }));
      expect(batches.flatMap(read)).toEqual(all.slice(index + 1));
      expect(batches[0]?.number ?? 1).toBe(1);
    }
    expect(batchesOf(messages, build({ skipUpTo: place("0.9/9.9") })).flatMap(read)).toEqual(all);
  });

  it("knows the number of the last batch with changes, complete or not, and whether it is in a transaction", () => {
    const builder = build({ shortRunBytes: 0 });
    expect([builder.lastBatch, builder.isInTransaction]).toEqual([0, false]);
    builder.add(begin(0x10));
    builder.add(relation(1));
    builder.add(relation(2));
    expect([builder.lastBatch, builder.isInTransaction]).toEqual([0, true]);
    builder.add(insert(1, 1));
    expect(builder.lastBatch).toBe(1);
    expect(builder.add(insert(2, 1))).toHaveLength(1);
    expect(builder.lastBatch).toBe(2);
    builder.add(commit(0x10));
    expect([builder.lastBatch, builder.isInTransaction]).toEqual([2, false]);
    expect(builder.flush()).toMatchObject({ number: 2 });
    expect([builder.lastBatch, builder.flush()]).toEqual([2, undefined]);
  });

  it.each([
    ["a change outside of a transaction", [relation(1), insert(1, 1)]],
    ["a change of a relation that was not described", [begin(1), insert(1, 1)]],
    ["a truncate of a relation that was not described", [begin(1), relation(1), truncate(1, 2)]],
    ["a message with an unknown tag", [Buffer.from("x")]],
    ["an empty message", [Buffer.alloc(0)]],
    ["a row that is cut", [begin(1), relation(1), insert(1, 1).subarray(0, 10)]],
  ])("refuses %s", (_, messages) => {
    expect(() => batchesOf(messages)).toThrow(ProtocolError);
  });

  it("gives every change once and in order, however batches are cut", () => {
    const step = fc.record({
      oid: fc.integer({ min: 1, max: 3 }),
      kind: fc.constantFrom("insert", "update", "delete", "truncate"),
    });
    const transactions = fc.array(fc.array(step, { maxLength: 8 }), { maxLength: 6 });
    fc.assert(
      fc.property(
        transactions,
        fc.integer({ min: 1, max: 200 }),
        fc.nat(200),
        fc.integer({ min: 1, max: 5 }),
        (script, limit, shortRunBytes, flushEvery) => {
          const expected: string[] = [];
          const builder = build({ batchBytesLimit: limit, shortRunBytes });
          const batches: NumberedBatch[] = [];
          for (const oid of [1, 2, 3]) builder.add(relation(oid));
          let count = 0;
          for (const [number, changes] of script.entries()) {
            const lsn = 0x100 * (number + 1);
            builder.add(begin(lsn));
            for (const [index, { oid, kind }] of changes.entries()) {
              const makers = { insert, update, delete: remove, truncate: (of: number) => truncate(of) };
              batches.push(...builder.add(makers[kind](oid, 7)));
              const position = formatPosition({
                ...place("1.0/0.0"),
                commitLsn: place(`1.0/${lsn.toString(16)}.0`).commitLsn,
                index,
              });
              expected.push(`t${oid} ${kind} ${position}`);
              if (++count % flushEvery === 0) batches.push(...[builder.flush()].filter((batch) => batch !== undefined));
            }
            builder.add(commit(lsn));
          }
          batches.push(...[builder.flush()].filter((batch) => batch !== undefined));
          expect(batches.map(({ number }) => number)).toEqual(batches.map((_, index) => index + 1));
          expect(batches.reduce((sum, { changes }) => sum + changes, 0)).toBe(expected.length);
          const found = batches.flatMap((batch) => {
            const lines = read(batch).map((line) => line.split(" ").slice(0, 3).join(" "));
            expect(formatPosition(batch.first)).toBe(lines[0]?.split(" ")[2]);
            expect(formatPosition(batch.last)).toBe(lines.at(-1)?.split(" ")[2]);
            return lines;
          });
          expect(found).toEqual(expected);
        },
      ),
    );
  });
});
