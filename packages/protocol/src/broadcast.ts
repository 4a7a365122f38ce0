/**
 * A message to everybody in a room. How it came decides how it goes on (protocol.md 2.5): a text push stays text, whole as it
 * is; one with an event of its own becomes what each serializer has for it.
 */
export type Broadcast =
  | {
      readonly tag: "verbatim";
      /** The push's payload, a JSON object, as its sender spelled it. */
      readonly payload: string;
    }
  | {
      readonly tag: "event";
      readonly event: string;
      readonly encoding: PayloadEncoding;
      /** Bytes of any kind, or a JSON text in UTF-8. */
      readonly payload: Uint8Array;
      /** A JSON object that says where the message comes from, such as `{"id":"…"}` for one from the database. */
      readonly metadata?: string;
    };

export type PayloadEncoding = "binary" | "json";

/** A broadcast as one serializer sends it: text frames are strings, binary frames bytes. */
export type BroadcastFrame =
  | { readonly tag: "frame"; readonly frame: string | Uint8Array }
  /** This serializer has no frame for it (protocol.md 2.3, 2.5). */
  | { readonly tag: "undeliverable"; readonly reason: "binaryPayload" | "nameTooLong" };
