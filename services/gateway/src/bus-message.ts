import { isObject, parseJson, toBytes, toText, type Broadcast } from "@walcast/protocol";

// How gateways tell each other a broadcast: a line of JSON that says what follows, then the payload as it is.

const newline = 10;

/** The bytes for other gateways. */
export function encodeBusMessage(broadcast: Broadcast): Uint8Array {
  const { payload, ...header } = broadcast;
  const line = toBytes(`${JSON.stringify(header)}\n`);
  const body = typeof payload === "string" ? toBytes(payload) : payload;
  return Buffer.concat([line, body]);
}

/** `undefined` for what no gateway of this version has sent. */
export function decodeBusMessage(bytes: Uint8Array): Broadcast | undefined {
  const lineEnd = bytes.indexOf(newline);
  if (lineEnd === -1) return undefined;
  const header = parseJson(toText(bytes.subarray(0, lineEnd)) ?? "");
  if (!isObject(header)) return undefined;
  const body = bytes.subarray(lineEnd + 1);
  const { tag, event, encoding, metadata } = header;
  if (tag === "verbatim") {
    const payload = toText(body);
    return payload === undefined ? undefined : { tag, payload };
  }
  if (tag !== "event" || typeof event !== "string" || (encoding !== "json" && encoding !== "binary")) return undefined;
  return { tag, event, encoding, payload: body, ...(typeof metadata === "string" ? { metadata } : {}) };
}
