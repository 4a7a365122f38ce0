import { formatPosition, toLsn, type Position, type Relation } from "@walcast/model";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeBatch, decodeHeader, encodeBatch, markBatch, relationLine, tryDecodeHeader } from "./batch.ts";
import { insertsAt, makeBatch, plain, position, todos, type ExampleChange } from "./conformance.ts";
import { BatchFormatError } from "./errors.ts";

/** JSON text as the transcoder writes it: without raw tabs and line ends. */
const json = fc.json().filter((text) => !/[\t\n\r]/.test(text));
const list = fc.array(fc.string(), { minLength: 1 }).map((names) => JSON.stringify(names));
const unlocated: fc.Arbitrary<Omit<ExampleChange, "at">> = fc.oneof(
  fc.record({ kind: fc.constant("insert" as const), record: json }),
  fc.record({ kind: fc.constant("update" as const), record: json, old: json }),
  fc.record({ kind: fc.constant("update" as const), record: json, old: json, unchanged: list }),
  fc.record({ kind: fc.constant("delete" as const), old: json }),
  fc.record({ kind: fc.constant("truncate" as const) }),
);
const transaction = fc.record({
  skip: fc.nat(1000),
  firstIndex: fc.nat(100_000),
  committedAtMicros: fc.integer({ min: 0, max: 4_000_000_000_000_000 }),
  xid: fc.integer({ min: 0, max: 4_294_967_295 }),
  changes: fc.array(unlocated, { minLength: 1, maxLength: 5 }),
});
/** Changes of several transactions, in order, as a batch holds them. */
const changeLists = fc
  .record({
    epoch: fc.integer({ min: 1, max: 999_999_999 }),
    start: fc.bigInt({ min: 1n, max: (1n << 64n) - 100_000n }),
    transactions: fc.array(transaction, { minLength: 1, maxLength: 4 }),
  })
  .map(({ epoch, start, transactions }) => {
    let lsn = start;
    return transactions.flatMap(({ skip, firstIndex, committedAtMicros, xid, changes }) => {
      lsn += BigInt(skip + 1);
      return changes.map((change, index): ExampleChange => {
        const at = formatPosition({ epoch, commitLsn: toLsn(lsn), index: firstIndex + index });
        return { ...change, at, committedAtMicros, xid };
      });
    });
  });

const relations: fc.Arbitrary<Relation> = fc.record({
  oid: fc.nat(),
  schema: fc.string({ unit: "grapheme" }),
  table: fc.string({ unit: "grapheme" }),
  replicaIdentity: fc.constantFrom("d", "n", "f", "i"),
  columns: fc.array(
    fc.record({
      name: fc.string({ unit: "grapheme" }),
      type: fc.string(),
      typeOid: fc.nat(),
      typeModifier: fc.integer(),
      isKey: fc.boolean(),
    }),
  ),
});
const previousPositions: fc.Arbitrary<Position | undefined> = fc.option(fc.constant(position("1.0/1.0")), {
  nil: undefined,
});

function readAll(bytes: Uint8Array): unknown {
  const batch = decodeBatch(bytes);
  return { header: batch.header, relation: batch.relation.parse(), changes: [...batch.changes()].map(plain) };
}

function failureOf(read: () => unknown): unknown {
  try {
    read();
    return undefined;
  } catch (error) {
    return error;
  }
}

describe("a batch", () => {
  it("is read as it was written", () => {
    fc.assert(
      fc.property(changeLists, relations, previousPositions, (changes, relation, previous) => {
        const batch = makeBatch(changes, relation);
        expect(readAll(encodeBatch(batch, previous))).toEqual({
          header: { first: batch.first, last: batch.last, previous, isMark: false },
          relation,
          changes,
        });
      }),
    );
  });

  it("gives only what stands after a position", () => {
    const batch = makeBatch([{ at: "1.0/1.4" }, { at: "1.0/1.5" }, { at: "1.0/3.0" }, { at: "1.0/3.1" }]);
    const logged = decodeBatch(encodeBatch(batch, undefined));
    const after = (place: string) =>
      [...logged.changes(position(place))].map((change) => formatPosition(change.position));
    expect(after("1.0/1.3")).toEqual(["1.0/1.4", "1.0/1.5", "1.0/3.0", "1.0/3.1"]);
    expect(after("1.0/1.4")).toEqual(["1.0/1.5", "1.0/3.0", "1.0/3.1"]);
    expect(after("1.0/2.9")).toEqual(["1.0/3.0", "1.0/3.1"]);
    expect(after("1.0/3.1")).toEqual([]);
    expect(after("0.9/9.9")).toHaveLength(4);
    expect(after("2.0/0.0")).toEqual([]);
  });

  it("is read from a view into a larger buffer", () => {
    const bytes = encodeBatch(insertsAt("1.0/1.0", "1.0/2.0"), undefined);
    const buffer = Buffer.alloc(bytes.length + 9, "\n");
    buffer.set(bytes, 4);
    expect(readAll(buffer.subarray(4, 4 + bytes.length))).toEqual(readAll(bytes));
    expect(decodeHeader(buffer.subarray(4, 4 + bytes.length))).toEqual(decodeHeader(bytes));
  });

  it("says with equal text that the relation is the same", () => {
    const [one, other] = [insertsAt("1.0/1.0"), insertsAt("1.0/2.0")].map((batch) =>
      decodeBatch(encodeBatch(batch, undefined)),
    );
    const [changed] = [makeBatch([{ at: "1.0/3.0" }], { ...todos, table: "other" })].map((batch) =>
      decodeBatch(encodeBatch(batch, undefined)),
    );
    expect(one?.relation.text).toBe(other?.relation.text);
    expect(one?.relation.text).not.toBe(changed?.relation.text);
  });

  it("may turn to other relations, and back", () => {
    const other = { ...todos, table: "other" };
    const lines = ["C\t0/1\t0\t7\t0\n", "T\n", relationLine(1, other), "T\n", relationLine(0, undefined), "T\nT\n"];
    const [first, last] = [position("1.0/1.0"), position("1.0/1.3")];
    const batch = { relation: todos, isMixed: true, first, last, lines: Buffer.from(lines.join("")) };
    const changes = [...decodeBatch(encodeBatch(batch, undefined)).changes()];
    expect(changes.map(({ relation }) => relation.parse().table)).toEqual(["todos", "other", "todos", "todos"]);
    expect(changes[2]?.relation).toBe(changes[3]?.relation);
    expect(changes.map((change) => formatPosition(change.position))).toEqual(
      [0, 1, 2, 3].map((index) => `1.0/1.${index}`),
    );
  });

  it("turns to no relation that it has not described", () => {
    const batch = insertsAt("1.0/1.0");
    const lines = Buffer.concat([Buffer.from(relationLine(1, undefined)), batch.lines]);
    expect(failureOf(() => readAll(encodeBatch({ ...batch, lines }, undefined)))).toBeInstanceOf(BatchFormatError);
  });
});

describe("what is not a batch", () => {
  const bytes = encodeBatch(
    makeBatch([
      { at: "1.0/1.0" },
      { at: "1.0/1.1", kind: "update", old: "{}", unchanged: '["a"]' },
      { at: "1.0/2.0", kind: "delete", old: "{}" },
      { at: "1.0/2.1", kind: "truncate" },
    ]),
    position("1.0/0.0"),
  );

  it("is refused with a BatchFormatError wherever a line is cut", () => {
    for (let length = 0; length < bytes.length; length++) {
      const failure = failureOf(() => readAll(bytes.subarray(0, length)));
      const endsALine = bytes[length - 1] === 0x0a;
      const headIsWhole = Buffer.from(bytes.subarray(0, length)).toString().split("\n").length > 2;
      if (endsALine && headIsWhole) expect(failure).toBeUndefined();
      else expect(failure).toMatchObject({ code: "BATCH_FORMAT" });
    }
  });

  it("never fails in another way, whatever the bytes are", () => {
    const altered = fc
      .array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 })
      .map((changes) => {
        const copy = Uint8Array.from(bytes);
        for (const [offset, value] of changes) copy[offset] = value;
        return copy;
      });
    const lines = fc
      .array(fc.oneof(fc.json(), fc.constantFrom("null", '{"walcast":1}', "C", "C\t0/1\t1\t1\t0", "I", "T", "")))
      .map((texts) => Buffer.from(texts.map((text) => `${text}\n`).join("")));
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), altered, lines), (garbage) => {
        const failure = failureOf(() => readAll(garbage));
        expect(failure === undefined || failure instanceof BatchFormatError).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ["nothing", "", "a line has no end"],
    ["text", "hello\n", "its header is not JSON"],
    ["null", "null\n", "its header is null"],
    ["a number", "7\n", "unknown format version"],
    ["another version", '{"walcast":2}\n', "unknown format version 2"],
    ["a header without positions", '{"walcast":1}\n', "is not a position"],
    ["a header alone", '{"walcast":1,"first":"1.0/1.0","last":"1.0/1.0","previous":null}\n', "a line has no end"],
  ])("is refused: %s", (_, text, problem) => {
    expect(() => decodeBatch(Buffer.from(text))).toThrow(problem);
    expect(() => decodeBatch(Buffer.from(text))).toThrow(BatchFormatError);
  });

  it("has no header", () => {
    expect(tryDecodeHeader(Buffer.from("hello\n"))).toBeUndefined();
    expect(tryDecodeHeader(bytes)).toEqual({
      first: position("1.0/1.0"),
      last: position("1.0/2.1"),
      previous: position("1.0/0.0"),
      isMark: false,
    });
  });

  it("says that a batch without changes is one", () => {
    const at = position("1.0/1.0");
    expect(decodeHeader(encodeBatch(markBatch(at), at))).toEqual({ first: at, last: at, previous: at, isMark: true });
    expect(decodeHeader(encodeBatch(markBatch(at), undefined))).toMatchObject({ previous: undefined, isMark: true });
  });

  it.each([
    ["a change before any transaction", "I\t{}\n"],
    ["a transaction without a place", "C\tx\t1\t1\t0\nI\t{}\n"],
    ["a transaction without a time", "C\t0/1\tnow\t1\t0\nI\t{}\n"],
    ["a transaction that is cut", "C\t0/1\t1\nI\t{}\n"],
    ["an unknown kind of change", "C\t0/1\t1\t1\t0\nX\t{}\n"],
    ["an empty line", "C\t0/1\t1\t1\t0\n\n"],
  ])("is refused inside of a batch: %s", (_, lines) => {
    const batch = { ...insertsAt("1.0/1.0"), lines: Buffer.from(lines) };
    expect(failureOf(() => readAll(encodeBatch(batch, undefined)))).toBeInstanceOf(BatchFormatError);
  });
});
