import { createHash } from "node:crypto";
import type { Address } from "./ports.ts";

/** As in the change log's subjects: what a token may hold as it is; all else is percent-encoded. */
const plain = /[^A-Za-z0-9_-]/gu;

const encodeToken = (name: string): string =>
  name.replaceAll(plain, (char) =>
    [...Buffer.from(char)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
  );

/** A NATS server reads no line of a client above 4 KiB (`max_control_line`), and keeps every subject in memory. */
const tokenLimit = 200;

/** A topic that is empty or long has a token that begins with `$`, which no encoded name does. */
function topicToken(topic: string): string {
  const token = encodeToken(topic);
  if (token !== "" && token.length <= tokenLimit) return token;
  return `$${createHash("sha256").update(topic).digest("base64url")}`;
}

/** `walcast.<source>.<kind>.<topic>`: one token for the topic, whatever it holds. */
export const addressSubject = (source: string, { kind, topic }: Address): string =>
  `walcast.${encodeToken(source)}.${kind}.${topicToken(topic)}`;
