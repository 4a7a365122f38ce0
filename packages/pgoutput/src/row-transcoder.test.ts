import type { Relation } from "@walcast/model";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fromHex, messages } from "../fixtures/captured.ts";
import {
  decodeMessage,
  JsonBuffer,
  ProtocolError,
  relationOidOf,
  RowTranscoder,
  toBytes,
  type Message,
  type OldTuple,
  type Tuple,
  type TypeCatalog,
  type TypeInfo,
} from "./index.ts";

const type = (oid: number, name: string, more: Partial<TypeInfo> = {}): [number, TypeInfo] => [
  oid,
  { oid, name, kind: "b", delimiter: ",", ...more },
];
const types: TypeCatalog = new Map([
  type(16, "bool"),
  type(23, "int4"),
  type(25, "text"),
  type(701, "float8"),
  type(1009, "_text", { elementOid: 25 }),
  type(1184, "timestamptz"),
  type(1700, "numeric"),
  type(16_385, "mood", { kind: "e" }),
  type(16_390, "positive", { kind: "d", baseOid: 23 }),
]);

type RowMessage = Extract<Message, { tag: "insert" | "update" | "delete" }>;
const isRow = (message: Message): message is RowMessage => ["insert", "update", "delete"].includes(message.tag);

const relations = new Map<number, Relation>();
for (const message of messages.map(decodeMessage)) {
  if (message.tag !== "relation") continue;
  const columns = message.columns.map((column) => ({ ...column, type: types.get(column.typeOid)?.name ?? "?" }));
  relations.set(message.oid, { ...message, columns });
}
function relationOf(oid: number): Relation {
  const relation = relations.get(oid);
  if (relation === undefined) throw new Error(`no relation ${oid} in the fixture`);
  return relation;
}

const rows = messages
  .map((bytes) => ({ bytes, message: decodeMessage(bytes) }))
  .flatMap(({ bytes, message }) => (isRow(message) ? [{ bytes, message }] : []));

function transcode(rowsOf: RowTranscoder, bytes: Uint8Array, tag: RowMessage["tag"]): string {
  const out = new JsonBuffer(4);
  rowsOf[tag](bytes, out);
  return out.toString();
}

/** What a value's JSON parses to, said plainly (protocol.md section 7). */
function plainValue(typeOid: number, text: string): unknown {
  switch (typeOid) {
    case 16:
      return text === "t";
    case 23:
    case 16_390:
    case 701:
    case 1700:
      return Number.isFinite(Number(text)) ? Number(text) : null;
    case 1009: // of words, as in the fixture
      return [...text.matchAll(/NULL|"(?<quoted>[^"]*)"|(?<bare>[^{},"]+)/gu)].map(
        ([whole, quoted, bare]) => quoted ?? (whole === "NULL" ? null : bare),
      );
    case 1184:
      return text.replace(" ", "T").replace(/\+00$/, "+00:00");
    default:
      return text;
  }
}

function plainRow(relation: Relation, tuple: Tuple, { keysOnly = false } = {}): Record<string, unknown> {
  const fields = relation.columns.flatMap(({ name, typeOid, isKey }, index): [string, unknown][] => {
    const value = tuple[index];
    if (value === undefined || (keysOnly && !isKey)) return [];
    if (value === null || typeof value === "string") {
      return [[name, value === null ? null : plainValue(typeOid, value)]];
    }
    return [];
  });
  return Object.fromEntries(fields);
}

const plainOld = (relation: Relation, old: OldTuple): unknown =>
  plainRow(relation, old.tuple, { keysOnly: old.kind === "key" });

/** The parts that the batch format wants, made from the decoder's tuples. */
function plainParts(message: RowMessage): unknown[] {
  const relation = relationOf(message.relationOid);
  switch (message.tag) {
    case "insert":
      return [plainRow(relation, message.newTuple)];
    case "delete":
      return [plainOld(relation, message.old)];
    default: {
      const { old, newTuple } = message;
      const filled = newTuple.map((value, index) =>
        typeof value === "object" && value !== null && old?.kind === "full" ? (old.tuple[index] ?? null) : value,
      );
      const missing = relation.columns.filter((_, index) => typeof (filled[index] ?? "") === "object");
      const parts = [
        plainRow(relation, filled),
        old === undefined ? plainRow(relation, newTuple, { keysOnly: true }) : plainOld(relation, old),
      ];
      return missing.length === 0 ? parts : [...parts, missing.map(({ name }) => name)];
    }
  }
}

describe("RowTranscoder", () => {
  it("writes what the decoder's tuples say, for every row the server sent", () => {
    expect(rows.map(({ message }) => message.tag)).toContain("delete");
    for (const { bytes, message } of rows) {
      const text = transcode(new RowTranscoder(relationOf(message.relationOid), types), bytes, message.tag);
      expect(text).not.toMatch(/[\n\r]/);
      expect(text.split("\t").map((part) => JSON.parse(part) as unknown)).toEqual(plainParts(message));
    }
  });

  it("gives the same for a row whatever row came before it", () => {
    const shared = new Map([...relations].map(([oid, relation]) => [oid, new RowTranscoder(relation, types)]));
    for (const { bytes, message } of [...rows, ...rows.toReversed()]) {
      const rowsOf = shared.get(message.relationOid);
      expect(rowsOf === undefined ? undefined : transcode(rowsOf, bytes, message.tag)).toBe(
        transcode(new RowTranscoder(relationOf(message.relationOid), types), bytes, message.tag),
      );
    }
  });

  it("writes numbers with the digits that PostgreSQL sent", () => {
    const [first] = rows;
    expect(
      first === undefined ? "" : transcode(new RowTranscoder(relationOf(16_392), types), first.bytes, "insert"),
    ).toContain('"price":12.50,');
  });

  it("refuses every row that is cut short or too long", () => {
    for (const { bytes, message } of rows) {
      const rowsOf = new RowTranscoder(relationOf(message.relationOid), types);
      for (let length = 5; length < bytes.length; length++) {
        expect(() => transcode(rowsOf, bytes.subarray(0, length), message.tag)).toThrow(ProtocolError);
      }
      expect(() => transcode(rowsOf, Uint8Array.of(...bytes, 0), message.tag)).toThrow(ProtocolError);
    }
  });

  it("refuses a row that has not as many columns as its relation", () => {
    const [first] = rows;
    const narrow = new RowTranscoder({ ...relationOf(16_392), columns: [] }, types);
    expect(() => transcode(narrow, first?.bytes ?? new Uint8Array(), "insert")).toThrow(
      "tuple has 9 columns, its relation 0",
    );
  });

  it("ends on altered bytes too, with text or with a ProtocolError", () => {
    const altered = fc.record({
      row: fc.constantFrom(...rows),
      changes: fc.array(fc.tuple(fc.nat(300), fc.nat(255)), { minLength: 1, maxLength: 5 }),
    });
    fc.assert(
      fc.property(altered, ({ row, changes }) => {
        const bytes = row.bytes.slice();
        for (const [offset, value] of changes) bytes[5 + (offset % (bytes.length - 5))] = value;
        try {
          transcode(new RowTranscoder(relationOf(row.message.relationOid), types), bytes, row.message.tag);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("relationOidOf", () => {
  it("is what the decoder reads", () => {
    for (const { bytes, message } of rows) expect(relationOidOf(bytes)).toBe(message.relationOid);
  });

  it("reads an OID of 2^31 and above as the unsigned number it is", () => {
    expect(relationOidOf(fromHex("49fffffffe4e0000"))).toBe(4_294_967_294);
  });

  it("refuses a message that is too short for it", () => {
    expect(() => relationOidOf(fromHex("49000000"))).toThrow(ProtocolError);
  });
});

describe("JsonBuffer", () => {
  const written = (write: (out: JsonBuffer) => void): string => {
    const out = new JsonBuffer(1);
    write(out);
    return out.toString();
  };

  it("writes any text as a JSON string that parses to the same text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.nat(9), (text, margin) => {
        const bytes = toBytes(`${"x".repeat(margin)}${text}`);
        const json = written((out) => out.string(bytes, margin, bytes.length));
        expect(JSON.parse(json)).toBe(text);
        expect(Math.min(...toBytes(json))).toBeGreaterThanOrEqual(0x20);
      }),
    );
  });

  it("turns raw tabs and line ends between JSON tokens to spaces, and keeps escaped ones", () => {
    const json = toBytes('{\r\n\t"a": "\\n\\t",\t"b": [1,\n2]}');
    expect(written((out) => out.json(json, 0, json.length))).toBe('{   "a": "\\n\\t", "b": [1, 2]}');
  });

  it("hands out a copy, and starts anew when cleared", () => {
    const out = new JsonBuffer(2);
    out.ascii("first");
    const first = out.toBytes();
    out.clear();
    out.ascii("again");
    expect([toText(first), toText(out.toBytes()), out.length]).toEqual(["first", "again", 5]);
    out.truncate(2);
    expect(out.toString()).toBe("ag");
  });
});

const toText = (bytes: Uint8Array): string => String.fromCharCode(...bytes);
