import { memberSlices } from "./json-slices.ts";
import { isObject } from "./json.ts";

/** What a channel's `presence` push asks for (protocol.md 4.5). */
export type PresencePush =
  | {
      readonly tag: "track";
      /** A JSON object as the client spelled it, without the names that are the server's. */
      readonly meta: string;
    }
  | { readonly tag: "untrack" }
  | { readonly tag: "notAnObject" }
  /** Nothing is asked for: done. */
  | { readonly tag: "nothing" }
  | { readonly tag: "unknown" };

/** What the server writes into each meta; a client's own are overwritten. */
const ownNames: readonly string[] = ["phx_ref", "phx_ref_prev"];

/** `slice`: the payload as the client spelled it. */
export function presencePush(payload: unknown, slice: () => string): PresencePush {
  if (!isObject(payload)) return { tag: "unknown" };
  const { event, payload: meta } = payload;
  if (event === undefined) return { tag: "nothing" };
  switch (typeof event === "string" ? event.toLowerCase() : "") {
    case "track":
      if (meta === undefined) return { tag: "track", meta: "{}" };
      if (!isObject(meta)) return { tag: "notAnObject" };
      return { tag: "track", meta: withoutOwnNames(meta, memberSlices(slice()).get("payload") ?? "{}") };
    case "untrack":
      return { tag: "untrack" };
    default:
      return { tag: "unknown" };
  }
}

function withoutOwnNames(meta: Readonly<Record<string, unknown>>, text: string): string {
  if (!ownNames.some((name) => name in meta)) return text;
  const others = [...memberSlices(text)].filter(([name]) => !ownNames.includes(name));
  return `{${others.map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(",")}}`;
}
