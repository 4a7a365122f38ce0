/** Close codes of protocol.md 1.6; every client comes back after each of them. */
export const CloseCode = {
  /** Nothing was received for the idle timeout, or no channel was joined for a long time. */
  Idle: 1000,
  /** Too many joins per second. */
  GoingAway: 1001,
  /** A frame, or the frames waiting for a slow join, break a limit. */
  Policy: 1008,
  TooBig: 1009,
  /** This server goes away; the next one serves. */
  Restart: 1012,
  /** The client reads too slowly: it has got all frames up to this one, and may come back for the rest. */
  TryAgainLater: 1013,
} as const;
