import type { ClientFrame } from "./frames.ts";
import { isObject } from "./json.ts";
import { presencePush } from "./presence-push.ts";

/**
 * What a text frame carries as spelled: a broadcast's payload, unless it is no object and cannot be sent on (protocol.md 2.5:
 * the peer's encoder raises on it, which ends the sender's channel), and what is tracked.
 */
export function verbatim(
  event: string,
  payload: unknown,
  slice: () => string,
): Pick<ClientFrame, "broadcast" | "presence"> {
  if (event === "presence") return { presence: presencePush(payload, slice) };
  if (event !== "broadcast" || !isObject(payload)) return {};
  return { broadcast: { tag: "verbatim", payload: slice() } };
}
