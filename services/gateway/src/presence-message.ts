import type { Placement, PresenceEntry } from "@walcast/presence";
import { isObject, parseJson, toBytes, toText } from "@walcast/protocol";

/** What gateways tell each other about one topic. */
export type PresenceMessage =
  /** A new entry, or a new version of one. */
  | ({ readonly tag: "put"; readonly entry: PresenceEntry } & Placement)
  | { readonly tag: "remove"; readonly id: string }
  /** All entries of a gateway: after it could not be heard, or has entered them again under another lease. */
  | ({ readonly tag: "all"; readonly gateway: string; readonly entries: readonly PresenceEntry[] } & Placement)
  /** A lease is dead, and its entries were removed. */
  | { readonly tag: "gone"; readonly lease: string };

export const encodePresenceMessage = (message: PresenceMessage): Uint8Array => toBytes(JSON.stringify(message));

/** `undefined` for what no gateway of this version has sent. */
export function decodePresenceMessage(bytes: Uint8Array): PresenceMessage | undefined {
  const message = parseJson(toText(bytes) ?? "");
  if (!isObject(message)) return undefined;
  const { tag, entry, entries, id, gateway, lease, isStored } = message;
  const isPlaced = typeof lease === "string" && typeof isStored === "boolean";
  switch (tag) {
    case "put":
      return isPlaced && isEntry(entry) ? { tag, entry, lease, isStored } : undefined;
    case "remove":
      return typeof id === "string" ? { tag, id } : undefined;
    case "all":
      return isPlaced && typeof gateway === "string" && Array.isArray(entries) && entries.every(isEntry)
        ? { tag, gateway, entries, lease, isStored }
        : undefined;
    case "gone":
      return typeof lease === "string" ? { tag, lease } : undefined;
    default:
      return undefined;
  }
}

const texts = ["id", "gateway", "key", "ref", "meta"] as const;

const isEntry = (value: unknown): value is PresenceEntry =>
  isObject(value) &&
  texts.every((name) => typeof value[name] === "string") &&
  typeof value["version"] === "number" &&
  (value["previousRef"] === undefined || typeof value["previousRef"] === "string");
