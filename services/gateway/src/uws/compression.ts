import * as library from "uWebSockets.js";

/** The package's types know these constants as types only. */
export const { DISABLED: disabled, SHARED_COMPRESSOR: sharedCompressor } = library as unknown as Readonly<
  Record<"DISABLED" | "SHARED_COMPRESSOR", number>
>;
