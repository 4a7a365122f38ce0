/** What a join asks to be sent of the broadcasts from before it (protocol.md 5.5). */
export type ReplayRequest =
  | { readonly tag: "none" }
  | {
      readonly tag: "wanted";
      /** Milliseconds since 1970. */
      readonly sinceMs: number;
      /** 1 to 25. */
      readonly limit: number;
    }
  /** There is one that is wrong: unlike other settings of a channel it is told (protocol.md 4.2). */
  | { readonly tag: "invalid" };

const mostMessages = 25;

/** Reads `config.broadcast.replay`; null is none. */
export function parseReplay(replay: unknown): ReplayRequest {
  if (replay === undefined || replay === null) return { tag: "none" };
  if (typeof replay !== "object") return { tag: "invalid" };
  const { since, limit } = replay as { readonly since?: unknown; readonly limit?: unknown };
  const count = limit ?? mostMessages;
  if (!isInteger(since) || !isInteger(count) || count < 1) return { tag: "invalid" };
  // Clamped to moments that PostgreSQL can write: there is nothing beyond.
  return { tag: "wanted", sinceMs: Math.min(Math.max(since, 0), latestMs), limit: Math.min(count, mostMessages) };
}

const isInteger = (value: unknown): value is number => Number.isSafeInteger(value);
/** The last moment that JavaScript's dates have; PostgreSQL's timestamps go on for longer. */
const latestMs = 8_640_000_000_000_000;
