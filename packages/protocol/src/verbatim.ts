import type { ClientFrame } from "./frames.ts";
import { isObject } from "./json.ts";

/**
 * What a text frame's broadcast carries: its payload as spelled. One that is no object cannot be sent on (protocol.md 2.5:
 * the peer's encoder raises on it, which ends the sender's channel).
 */
export const verbatim = (event: string, payload: unknown, slice: () => string): Pick<ClientFrame, "broadcast"> =>
  event === "broadcast" && isObject(payload) ? { broadcast: { tag: "verbatim", payload: slice() } } : {};
