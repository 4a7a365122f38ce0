/**
 * Bytes that are not the pgoutput message they claim to be: short, an unknown tag, an unknown relation.
 * Operator: the server speaks another protocol version, or something between it and walcast alters bytes.
 */
export class ProtocolError extends Error {
  readonly code = "PGOUTPUT_PROTOCOL";
  /** The message's first byte as a character, `?` when there is none. */
  readonly messageTag: string;
  /** Where in the message reading failed, in bytes from its start. */
  readonly byteOffset: number;

  constructor(messageTag: string, byteOffset: number, problem: string) {
    super(`pgoutput message '${messageTag}', byte ${byteOffset}: ${problem}`);
    this.messageTag = messageTag;
    this.byteOffset = byteOffset;
  }
}
