import type { JsonBuffer } from "./json-buffer.ts";
import { toBytes } from "./text.ts";
import type { ValueWriter } from "./value-writers.ts";

export interface CompositeContext {
  readonly out: JsonBuffer;
  readonly source: Uint8Array;
  readonly attributes: readonly { readonly name: string; readonly write: ValueWriter }[];
}

const comma = 0x2c;
const quote = 0x22;
const backslash = 0x5c;
const closeParen = 0x29;

/**
 * A composite value's text as a JSON object (manual, "Composite Type Input and Output Syntax"): an empty field is null;
 * quotes and backslashes inside quotes are doubled. PostgreSQL does not describe a table anew when a type of it is altered:
 * a value with more or fewer fields than are known is its text, rather than values under others' names.
 */
export function writeComposite(context: CompositeContext, start: number, end: number): void {
  const { out, source } = context;
  const begin = out.length;
  if (writeFields(context, start, end)) return;
  out.truncate(begin);
  out.string(source, start, end);
}

/** False when the value has another number of fields than the type. */
function writeFields({ out, source, attributes }: CompositeContext, start: number, end: number): boolean {
  let i = start + 1;
  out.byte(0x7b);
  for (const [index, { name, write }] of attributes.entries()) {
    if (index > 0) {
      if (source[i++] !== comma) return false;
      out.byte(comma);
    }
    const key = toBytes(name);
    out.string(key, 0, key.length);
    out.byte(0x3a);
    const field = readField(source, i, end);
    if (field.bytes === undefined) out.ascii("null");
    else write(out, field.bytes, 0, field.bytes.length);
    i = field.next;
  }
  out.byte(0x7d);
  return source[i] === closeParen;
}

/** `bytes` is undefined for an empty field, which is NULL; `next` is the index of the comma or parenthesis after it. */
function readField(source: Uint8Array, start: number, end: number): { bytes: Uint8Array | undefined; next: number } {
  if (source[start] === comma || source[start] === closeParen || start >= end) return { bytes: undefined, next: start };
  const bytes = new Uint8Array(end - start);
  let length = 0;
  let quoted = false;
  let i = start;
  for (; i < end; i++) {
    const byte = source[i] ?? 0;
    if (!quoted && (byte === comma || byte === closeParen)) break;
    if (byte === quote && !(quoted && source[i + 1] === quote)) {
      quoted = !quoted;
      continue;
    }
    if (byte === backslash || byte === quote) i++; // the doubled one follows
    bytes[length++] = source[i] ?? 0;
  }
  return { bytes: bytes.subarray(0, length), next: i };
}
