import { toLsn } from "@walcast/model";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fromHex, messages, server } from "../fixtures/captured.ts";
import { decodeMessage, ProtocolError, type Message, type RelationColumn } from "./index.ts";

const column = (
  name: string,
  typeOid: number,
  { isKey = false, typeModifier = -1 }: Partial<RelationColumn> = {},
): RelationColumn => ({ name, typeOid, typeModifier, isKey });
const key = { isKey: true };

const mood: Message = { tag: "type", oid: 16_385, schema: "public", name: "mood" };
// Of a domain PostgreSQL names the type below it, under the domain's own OID.
const positive: Message = { tag: "type", oid: 16_390, schema: "pg_catalog", name: "int4" };
const todo: Message = {
  tag: "relation",
  oid: 16_392,
  schema: "public",
  table: "todo",
  replicaIdentity: "d",
  columns: [
    column("id", 23, key),
    column("title", 25),
    column("mood", mood.oid),
    column("priority", positive.oid),
    column("price", 1700, { typeModifier: ((8 << 16) | 2) + 4 }),
    column("done", 16),
    column("at", 1184),
    column("tags", 1009),
    column("body", 25),
  ],
};
const full: Message = {
  tag: "relation",
  oid: 16_401,
  schema: "Odd.Schema",
  table: 'full "row"',
  replicaIdentity: "f",
  columns: [column("id", 23, key), column("na\tme", 25, key)],
};
const pair: Message = {
  tag: "relation",
  oid: 16_406,
  schema: "public",
  table: "pair",
  replicaIdentity: "d",
  columns: [column("a", 23, key), column("b", 25, key), column("c", 701)],
};

const begin = (commitLsn: bigint, committedAtMicros: bigint, xid: number): Message => ({
  tag: "begin",
  commitLsn: toLsn(commitLsn),
  committedAtMicros,
  xid,
});
const commit = (commitLsn: bigint, endLsn: bigint, committedAtMicros: bigint): Message => ({
  tag: "commit",
  commitLsn: toLsn(commitLsn),
  endLsn: toLsn(endLsn),
  committedAtMicros,
});
const ascii = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0));

const toast = "toast".repeat(420);
const external = "external".repeat(260);
const unchanged = { unchangedToast: true } as const;
const keyOf = (id: string) => ({ kind: "key", tuple: [id, ...Array.from({ length: 8 }, () => null)] }) as const;
const rest = ["happy", "5", "12.50", "t", "2024-02-29 12:34:56.123456+00", '{a,NULL,"b c"}'];

/** One entry for each message of the fixture, whose SQL says how it came about. */
const expected: readonly Message[] = [
  begin(24_709_056n, 848_500_483_747_818n, 762),
  mood,
  positive,
  todo,
  {
    tag: "insert",
    relationOid: todo.oid,
    newTuple: ["1", 'quote " backslash \\ tab \t line\nünïcode 🎈', ...rest, toast],
  },
  { tag: "insert", relationOid: todo.oid, newTuple: ["2", null, null, null, "NaN", "f", "-infinity", "{}", null] },
  commit(24_709_056n, 24_709_104n, 848_500_483_747_818n),

  begin(24_709_344n, 848_500_483_748_979n, 763),
  { tag: "update", relationOid: todo.oid, old: undefined, newTuple: ["1", "same identity", ...rest, unchanged] },
  commit(24_709_344n, 24_709_392n, 848_500_483_748_979n),

  begin(24_709_808n, 848_500_483_749_711n, 764),
  { tag: "update", relationOid: todo.oid, old: keyOf("1"), newTuple: ["3", "same identity", ...rest, "short"] },
  commit(24_709_808n, 24_709_856n, 848_500_483_749_711n),

  begin(24_709_928n, 848_500_483_750_120n, 765),
  { tag: "delete", relationOid: todo.oid, old: keyOf("2") },
  commit(24_709_928n, 24_709_976n, 848_500_483_750_120n),

  begin(24_717_032n, 848_500_483_750_853n, 766),
  full,
  { tag: "insert", relationOid: full.oid, newTuple: ["1", external] },
  { tag: "update", relationOid: full.oid, old: { kind: "full", tuple: ["1", external] }, newTuple: ["2", unchanged] },
  { tag: "delete", relationOid: full.oid, old: { kind: "full", tuple: ["2", external] } },
  commit(24_717_032n, 24_717_080n, 848_500_483_750_853n),

  begin(24_717_544n, 848_500_483_751_729n, 767),
  pair,
  { tag: "insert", relationOid: pair.oid, newTuple: ["1", "x", "1e+20"] },
  { tag: "message", transactional: true, lsn: toLsn(24_717_384n), prefix: "inside", content: ascii("transactional") },
  {
    tag: "update",
    relationOid: pair.oid,
    old: { kind: "key", tuple: ["1", "x", null] },
    newTuple: ["1", "y", "1e+20"],
  },
  commit(24_717_544n, 24_717_592n, 848_500_483_751_729n),

  { tag: "message", transactional: false, lsn: toLsn(24_717_664n), prefix: "outside", content: ascii("at once") },

  begin(24_723_544n, 848_500_483_756_390n, 768),
  mood,
  positive,
  todo,
  pair,
  { tag: "truncate", cascade: true, restartIdentity: true, relationOids: [todo.oid, pair.oid] },
  commit(24_723_544n, 24_724_216n, 848_500_483_756_390n),

  begin(24_727_136n, 848_500_483_759_404n, 769),
  pair,
  { tag: "truncate", cascade: false, restartIdentity: false, relationOids: [pair.oid] },
  commit(24_727_136n, 24_727_504n, 848_500_483_759_404n),

  begin(24_727_776n, 848_500_483_759_404n, 770),
  { tag: "origin", commitLsn: toLsn(0n), name: "elsewhere" },
  pair,
  { tag: "insert", relationOid: pair.oid, newTuple: ["7", "from elsewhere", "Infinity"] },
  commit(24_727_776n, 24_727_848n, 848_500_483_759_404n),
];

function failureOf(bytes: Uint8Array): unknown {
  try {
    decodeMessage(bytes);
    return undefined;
  } catch (error) {
    return error;
  }
}

describe(`decodeMessage on what ${server} sent`, () => {
  it("reads every message", () => {
    expect(messages.map(decodeMessage)).toEqual(expected);
  });

  it("refuses every message that is cut short, wherever it is cut", () => {
    for (const message of messages) {
      for (let length = 0; length < message.length; length++) {
        const failure = failureOf(message.subarray(0, length));
        expect(failure).toBeInstanceOf(ProtocolError);
        expect(failure).toMatchObject({
          code: "PGOUTPUT_PROTOCOL",
          messageTag: length === 0 ? "?" : String.fromCharCode(message[0] ?? 0),
        });
        const offset = failure instanceof ProtocolError ? failure.byteOffset : Number.NaN;
        expect(offset).toBeGreaterThanOrEqual(0);
        expect(offset).toBeLessThanOrEqual(length);
      }
    }
  });

  it("refuses every message with a byte too many, and says where it ends", () => {
    for (const message of messages) {
      const longer = new Uint8Array(message.length + 1);
      longer.set(message);
      expect(failureOf(longer)).toMatchObject({ code: "PGOUTPUT_PROTOCOL", byteOffset: message.length });
    }
  });

  it("reads a message that is a view into a larger buffer", () => {
    for (const [index, message] of messages.entries()) {
      const buffer = new Uint8Array(message.length + 7).fill(0xff);
      buffer.set(message, 3);
      expect(decodeMessage(buffer.subarray(3, 3 + message.length))).toEqual(expected[index]);
    }
  });
});

describe("decodeMessage on anything else", () => {
  /** Random bytes behind a tag that is known, as others end at the first byte. */
  const tagged = fc
    .tuple(fc.constantFrom("B", "C", "O", "R", "Y", "I", "U", "D", "T", "M"), fc.uint8Array({ maxLength: 64 }))
    .map(([tag, body]) => Uint8Array.of(tag.charCodeAt(0), ...body));
  /** A real message with some bytes replaced: gets further than random ones. */
  const altered = fc
    .tuple(fc.constantFrom(...messages), fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { minLength: 1, maxLength: 4 }))
    .map(([message, changes]) => {
      const bytes = message.slice();
      for (const [offset, value] of changes) bytes[offset % bytes.length] = value;
      return bytes;
    });

  it("gives a message or a ProtocolError, never another failure", () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), tagged, altered), (bytes) => {
        const failure = failureOf(bytes);
        expect(failure === undefined || failure instanceof ProtocolError).toBe(true);
      }),
      { numRuns: 5000 },
    );
  });

  it.each([
    ["an unknown tag", "7a", "z", 1],
    ["a count of relations that no message can hold", "547fffffff00", "T", 6],
    ["a negative count of relations", "54ffffffff00", "T", 6],
    ["a count of columns that no message can hold", "49000000014e7fff", "I", 8],
    ["a value longer than the message", "49000000014e0001747fffffff61", "I", 13],
    ["a value of negative length", "49000000014e000174ffffffff", "I", 13],
    ["a kind of column that does not exist", "49000000014e000178", "I", 9],
    ["an insert with an old tuple", "49000000014b0000", "I", 6],
    ["a delete with a new tuple", "44000000014e0000", "D", 6],
    ["a relation whose name does not end", "520000000161", "R", 5],
    ["an unknown replica identity", "52000000010061007a0000", "R", 9],
  ])("refuses %s", (_, hex, messageTag, byteOffset) => {
    expect(failureOf(fromHex(hex))).toMatchObject({ code: "PGOUTPUT_PROTOCOL", messageTag, byteOffset });
  });

  it("keeps a byte order mark that a value begins with", () => {
    expect(decodeMessage(fromHex("49000000014e00017400000004efbbbf61"))).toMatchObject({ newTuple: ["\uFEFFa"] });
  });
});
