// A byte order mark is a character like any other: values and names may begin with one.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();

export const toText = (bytes: Uint8Array, start: number, end: number): string =>
  decoder.decode(bytes.subarray(start, end));
export const toBytes = (text: string): Uint8Array<ArrayBuffer> => encoder.encode(text);
