/** Close codes of protocol.md 1.6; every client comes back after each of them. */
export const CloseCode = {
  /** Nothing was received for the idle timeout. */
  Idle: 1000,
  /** A frame, or the frames waiting for a slow join, break a limit. */
  Policy: 1008,
  TooBig: 1009,
  /** This server goes away; the next one serves. */
  Restart: 1012,
} as const;
