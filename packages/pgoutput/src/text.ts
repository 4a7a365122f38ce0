const decoder = new TextDecoder();
const encoder = new TextEncoder();

export const toText = (bytes: Uint8Array, start: number, end: number): string =>
  decoder.decode(bytes.subarray(start, end));
export const toBytes = (text: string): Uint8Array<ArrayBuffer> => encoder.encode(text);
