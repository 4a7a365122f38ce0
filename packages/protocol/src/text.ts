// A byte order mark is a character like any other, and JSON may not begin with one.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** `undefined` when the bytes are not UTF-8. */
export function toText(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

export const toBytes = (text: string): Uint8Array<ArrayBuffer> => encoder.encode(text);
