/** As JSON; those of clients are a few digits. */
const referenceLimit = 1_000;

/**
 * Whether a `ref` or `join_ref` can be sent back. They may be any JSON, and are kept for as long as the channel: what is
 * nested too deep can be read, and throws wherever it is written.
 */
export function isReference(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return typeof value !== "string" || value.length <= referenceLimit;
  try {
    return JSON.stringify(value).length <= referenceLimit;
  } catch {
    return false;
  }
}
