import type { LoggedChange } from "@walcast/change-log";
import type { Relation } from "@walcast/model";
import { isObject, memberSlices, parseJson, toBytes, topicPrefix, type Broadcast } from "@walcast/protocol";
import type { RoomAddress } from "./room.ts";

/** Prefix of `pg_logical_emit_message`, whose content is `{"topic", "event", "payload", "private"}`. */
const messagePrefix = "walcast:broadcast";
/** `realtime.messages`, or one of its daily partitions: a publication's setting decides which it is. */
const messagesTable = /^messages(?:_\d{4}_\d{2}_\d{2})?$/;

/** Whether changes of the relation are broadcasts, and nothing that is subscribed to as rows. */
export const bringsBroadcasts = ({ oid, schema, table }: Relation): boolean =>
  schema === "realtime" ? messagesTable.test(table) : oid === 0;

/**
 * The broadcast that a change of such a relation stands for (protocol.md 5.4); `undefined` for what is none: probes, updates,
 * messages of others. Every gateway reads the log, so each serves its own clients.
 */
export function broadcastOf(
  { kind, record }: LoggedChange,
  { schema }: Relation,
): { readonly to: RoomAddress; readonly broadcast: Broadcast } | undefined {
  if (record === undefined) return undefined;
  if (kind === "message") return ofMessage(record.toString());
  return kind === "insert" && schema === "realtime" ? ofRow(record.toString()) : undefined;
}

type Found = ReturnType<typeof broadcastOf>;

function ofRow(row: string): Found {
  const slices = memberSlices(row);
  const fields = parseJson(row);
  if (!isObject(fields)) return undefined;
  const { topic, event, id, private: isPrivate, binary_payload: hex } = fields;
  const payload = slices.get("payload");
  if (typeof topic !== "string" || typeof event !== "string" || typeof id !== "string") return undefined;
  if (typeof isPrivate !== "boolean") return undefined;
  const content =
    typeof hex === "string"
      ? ({ encoding: "binary", payload: Buffer.from(hex, "hex") } as const)
      : ({ encoding: "json", payload: toBytes(payload ?? "null") } as const);
  const metadata = JSON.stringify({ id });
  return { to: { topic: topicPrefix + topic, isPrivate }, broadcast: { tag: "event", event, metadata, ...content } };
}

function ofMessage(record: string): Found {
  const message = parseJson(record);
  if (!isObject(message) || message["prefix"] !== messagePrefix || typeof message["content"] !== "string") {
    return undefined;
  }
  const text = Buffer.from(message["content"], "base64").toString();
  const fields = parseJson(text);
  if (!isObject(fields)) return undefined;
  const { topic, event, private: isPrivate = false } = fields;
  if (typeof topic !== "string" || typeof event !== "string" || typeof isPrivate !== "boolean") return undefined;
  const payload = toBytes(memberSlices(text).get("payload") ?? "{}");
  return {
    to: { topic: topicPrefix + topic, isPrivate },
    broadcast: { tag: "event", event, encoding: "json", payload },
  };
}
