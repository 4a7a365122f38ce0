import { writeArray } from "./array-writer.ts";
import { writeComposite } from "./composite-writer.ts";
import type { JsonBuffer } from "./json-buffer.ts";
import { baseTypeOf, type TypeCatalog, type TypeInfo } from "./type-catalog.ts";

/** Writes one value, given as PostgreSQL's text output in `source[start, end)`, as JSON. */
export type ValueWriter = (out: JsonBuffer, source: Uint8Array, start: number, end: number) => void;

// What each type looks like as JSON: protocol.md section 7, column "Current wire".

const writeString: ValueWriter = (out, source, start, end) => out.string(source, start, end);
const writeRaw: ValueWriter = (out, source, start, end) => out.raw(source, start, end);
const writeJson: ValueWriter = (out, source, start, end) => out.json(source, start, end);

const writeBool: ValueWriter = (out, source, start) => out.ascii(source[start] === 0x74 ? "true" : "false");

/** NaN and the infinities have no JSON number: null for a column, as the peer writes them. */
const writeNumberOrNull: ValueWriter = (out, source, start, end) =>
  isFinite(source, start) ? out.raw(source, start, end) : out.ascii("null");

/** Inside arrays and composites they are strings, as to_jsonb writes them. */
const writeNumberOrString: ValueWriter = (out, source, start, end) =>
  isFinite(source, start) ? out.raw(source, start, end) : out.string(source, start, end);

function isFinite(source: Uint8Array, start: number): boolean {
  const first = source[start] === 0x2d ? source[start + 1] : source[start];
  return first !== 0x4e && first !== 0x49; // N(aN), I(nfinity)
}

/** `\xdeadbeef` without its prefix (bytea_output = hex, set by the replication connection). */
const writeBytea: ValueWriter = (out, source, start, end) => out.string(source, start + 2, end);

/** DateStyle ISO text with `T` for the space; `infinity` and the ` BC` suffix stay. */
const writeTimestamp: ValueWriter = (out, source, start, end) => {
  const space = indexOfSpace(source, start, end);
  out.byte(0x22);
  if (space === end) out.raw(source, start, end);
  else writeDateTime(out, source, { start, space, end });
  out.byte(0x22);
};

/** As timestamp, and the offset gets minutes: `+00` becomes `+00:00`. */
const writeTimestamptz: ValueWriter = (out, source, start, end) => {
  const space = indexOfSpace(source, start, end);
  if (space === end) return writeString(out, source, start, end);
  let offset = space + 1;
  while (offset < end && source[offset] !== 0x2b && source[offset] !== 0x2d) offset++;
  let offsetEnd = offset;
  while (offsetEnd < end && source[offsetEnd] !== 0x20) offsetEnd++;
  out.byte(0x22);
  writeDateTime(out, source, { start, space, end: offsetEnd });
  if (offsetEnd - offset === 3) out.ascii(":00");
  out.raw(source, offsetEnd, end);
  out.byte(0x22);
};

/** A loop: dates are short, and Buffer's indexOf takes longer than all the rest. */
function indexOfSpace(source: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && source[at] !== 0x20) at++;
  return at;
}

function writeDateTime(out: JsonBuffer, source: Uint8Array, at: { start: number; space: number; end: number }): void {
  out.raw(source, at.start, at.space);
  out.byte(0x54);
  out.raw(source, at.space + 1, at.end);
}

const writersByName: Readonly<Record<string, ValueWriter>> = {
  bool: writeBool,
  int2: writeRaw,
  int4: writeRaw,
  int8: writeRaw,
  bytea: writeBytea,
  json: writeJson,
  jsonb: writeJson,
  timestamp: writeTimestamp,
  timestamptz: writeTimestamptz,
};
const numberNames = new Set(["float4", "float8", "numeric"]);

/** User types may share a built-in type's name; only OIDs below this (FirstNormalObjectId) are PostgreSQL's own. */
const firstUserOid = 16_384;

/** The writer of a column's type. An unknown type's values are JSON strings of their text. */
export function valueWriter(types: TypeCatalog, typeOid: number): ValueWriter {
  return writerOf(types, typeOid, { nested: false });
}

function writerOf(types: TypeCatalog, typeOid: number, place: { nested: boolean }): ValueWriter {
  const type = baseTypeOf(types, typeOid);
  if (type === undefined) return writeString;
  if (type.elementOid !== undefined) return arrayWriter(types, type.elementOid);
  if (type.kind === "c") return compositeWriter(types, type);
  if (type.oid >= firstUserOid) return writeString;
  if (numberNames.has(type.name)) return place.nested ? writeNumberOrString : writeNumberOrNull;
  return writersByName[type.name] ?? writeString;
}

function arrayWriter(types: TypeCatalog, elementOid: number): ValueWriter {
  const element = lazy(() => writerOf(types, elementOid, { nested: true }));
  const delimiter = types.get(elementOid)?.delimiter === ";" ? 0x3b : 0x2c;
  return (out, source, start, end) => writeArray({ out, source, element: element(), delimiter }, start, end);
}

function compositeWriter(types: TypeCatalog, type: TypeInfo): ValueWriter {
  const attributes = lazy(() =>
    (type.attributes ?? []).map((attribute) => ({
      name: attribute.name,
      write: writerOf(types, attribute.typeOid, { nested: true }),
    })),
  );
  return (out, source, start, end) => writeComposite({ out, source, attributes: attributes() }, start, end);
}

/** Built at first use: a type may contain an array of itself. */
function lazy<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}
