// A message larger than the server's max_payload travels as several, each with a header that says whose and which it is:
// `Walcast-Part: <sender> <message> <index>/<count>`. A sender publishes them one after the other, with nothing in between.

export const partHeader = "Walcast-Part";

export interface Part {
  /** One running bus. */
  readonly sender: string;
  /** Counts the sender's messages that came in parts. */
  readonly message: number;
  /** From 1. */
  readonly index: number;
  readonly count: number;
}

export const formatPart = ({ sender, message, index, count }: Part): string => `${sender} ${message} ${index}/${count}`;

export function parsePart(text: string): Part | undefined {
  const match = /^(\S{1,64}) (\d{1,15}) (\d{1,9})\/(\d{1,9})$/.exec(text);
  if (match === null) return undefined;
  const [, sender = "", message, index, count] = match;
  return { sender, message: Number(message), index: Number(index), count: Number(count) };
}

export interface PartJoinerOptions {
  /** All incomplete messages together. */
  readonly limitBytes: number;
  readonly limitSenders: number;
  /** One that gets no further part for this long is given up. */
  readonly expiryMs: number;
}

interface Incomplete {
  readonly message: number;
  readonly count: number;
  readonly parts: Uint8Array[];
  readonly bytes: number;
  readonly changedMs: number;
}

/**
 * Puts messages together again, one for each sender at a time. A part that does not follow the one before it ends its message:
 * something was lost on the way. Memory is bounded: beyond the limits the message that waits longest is given up.
 */
export class PartJoiner {
  readonly #options: PartJoinerOptions;
  /** By sender, the one that changed last at the end. */
  readonly #incomplete = new Map<string, Incomplete>();
  #bytes = 0;

  constructor(options: PartJoinerOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#incomplete.size === 0;
  }

  /** The whole message when `data` completes one. */
  add(part: Part, data: Uint8Array, nowMs: number): Uint8Array | undefined {
    const { sender, message, index, count } = part;
    const known = this.#incomplete.get(sender);
    this.#drop(sender);
    const follows =
      index === 1 ||
      (known !== undefined && known.message === message && known.count === count && index === known.parts.length + 1);
    if (!follows || index > count) return undefined;
    const parts = index === 1 || known === undefined ? [] : known.parts;
    parts.push(data);
    if (index === count) return Buffer.concat(parts);
    const bytes = parts.reduce((sum, { length }) => sum + length, 0);
    this.#incomplete.set(sender, { message, count, parts, bytes, changedMs: nowMs });
    this.#bytes += bytes;
    const { limitBytes, limitSenders } = this.#options;
    for (const oldest of this.#incomplete.keys()) {
      if (this.#bytes <= limitBytes && this.#incomplete.size <= limitSenders) break;
      this.#drop(oldest);
    }
    return undefined;
  }

  /** Gives up what has waited too long. */
  expire(nowMs: number): void {
    for (const [sender, { changedMs }] of this.#incomplete) {
      if (nowMs - changedMs >= this.#options.expiryMs) this.#drop(sender);
    }
  }

  #drop(sender: string): void {
    this.#bytes -= this.#incomplete.get(sender)?.bytes ?? 0;
    this.#incomplete.delete(sender);
  }
}
