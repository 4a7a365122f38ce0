import type { JsonBuffer } from "./json-buffer.ts";
import type { ValueWriter } from "./value-writers.ts";

export interface ArrayContext {
  readonly out: JsonBuffer;
  readonly source: Uint8Array;
  readonly element: ValueWriter;
  /** The byte between elements: `,`, or `;` for box. */
  readonly delimiter: number;
}

const open = 0x7b;
const close = 0x7d;
const quote = 0x22;
const backslash = 0x5c;

/**
 * An array's text as a JSON array, nested for more dimensions (manual, "Array Input and Output Syntax"): elements are bare
 * or quoted, NULL is bare, explicit bounds such as `[0:1]={…}` are passed over.
 */
export function writeArray(context: ArrayContext, start: number, end: number): void {
  const { out, source, delimiter } = context;
  let i = source[start] === 0x5b ? source.indexOf(open, start) : start;
  while (i < end) {
    const byte = source[i];
    if (byte === open) {
      out.byte(0x5b);
      i++;
    } else if (byte === close) {
      out.byte(0x5d);
      i++;
    } else if (byte === delimiter) {
      out.byte(0x2c);
      i++;
    } else if (byte === quote) {
      i = writeQuoted(context, i + 1, end);
    } else {
      i = writeBare(context, i, end);
    }
  }
}

function writeBare({ out, source, element, delimiter }: ArrayContext, start: number, end: number): number {
  let i = start;
  while (i < end && source[i] !== delimiter && source[i] !== close) i++;
  if (isNull(source, start, i)) out.ascii("null");
  else element(out, source, start, i);
  return i;
}

function isNull(source: Uint8Array, start: number, end: number): boolean {
  return (
    end - start === 4 &&
    source[start] === 0x4e &&
    source[start + 1] === 0x55 &&
    source[start + 2] === 0x4c &&
    source[start + 3] === 0x4c
  );
}

/** Starts after the opening quote, returns the index after the closing one. */
function writeQuoted({ out, source, element }: ArrayContext, start: number, end: number): number {
  let i = start;
  let escaped = false;
  while (i < end && source[i] !== quote) {
    if (source[i] === backslash) {
      escaped = true;
      i++;
    }
    i++;
  }
  if (!escaped) {
    element(out, source, start, i);
  } else {
    const plain = unescape(source, start, i);
    element(out, plain, 0, plain.length);
  }
  return i + 1;
}

function unescape(source: Uint8Array, start: number, end: number): Uint8Array {
  const plain = new Uint8Array(end - start);
  let length = 0;
  for (let i = start; i < end; i++) {
    if (source[i] === backslash) i++;
    plain[length++] = source[i] ?? 0;
  }
  return plain.subarray(0, length);
}
