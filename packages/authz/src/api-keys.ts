import { createHash, timingSafeEqual } from "node:crypto";

/** Opaque keys begin so; they are no tokens (protocol.md 1.4). */
export const apiKeyPrefix = "sb_";

/** Opaque API keys and what each stands for. */
export class ApiKeys {
  readonly #entries: readonly { readonly digest: Buffer; readonly standsFor: string }[];

  constructor(keys: Readonly<Record<string, string>>) {
    this.#entries = Object.entries(keys).map(([key, standsFor]) => ({ digest: digestOf(key), standsFor }));
  }

  /** A role's name or a token. Takes equally long whichever key is given, right or nearly right. */
  find(key: string): string | undefined {
    const digest = digestOf(key);
    let found: string | undefined;
    for (const entry of this.#entries) {
      if (timingSafeEqual(entry.digest, digest)) found = entry.standsFor;
    }
    return found;
  }
}

/** Digests have one length, which timingSafeEqual asks for, and tell nothing of a common beginning. */
const digestOf = (key: string): Buffer => createHash("sha256").update(key).digest();
