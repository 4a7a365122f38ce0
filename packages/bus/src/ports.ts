/** What a message belongs to. Each kind is a namespace of its own. */
export type ChannelKind = "broadcast" | "presence";

/** Where a message goes: everybody who subscribed to the same kind and topic, on other gateways. */
export interface Address {
  readonly kind: ChannelKind;
  /** Any text, of any length. */
  readonly topic: string;
}

/** Takes a message. It must not throw, and must not change the bytes: others may hold them too. */
export type BusHandler = (bytes: Uint8Array) => void;

/**
 * Messages between gateways, at most once. What one gateway publishes arrives in the order it was published; between gateways
 * there is no order. A gateway does not hear itself: it has served its own clients already.
 */
export interface Bus {
  /**
   * `away`: nobody else hears it, because the network cannot be reached now; it is not kept for later. The bytes must not
   * change any more. Throws BusMessageTooLargeError.
   */
  publish(address: Address, bytes: Uint8Array): "sent" | "away";
  /** Returns how to stop. The subscription outlives every outage. */
  subscribe(address: Address, handler: BusHandler): () => void;
  /** Resolves when the network knows of everything so far, or is away. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** No message may be larger. Beyond every limit that clients have: it is there to bound memory. */
export const messageBytesLimit = 32 * 1024 * 1024;
