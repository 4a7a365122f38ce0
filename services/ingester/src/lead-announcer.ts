import { heartbeatEveryMs, type Heartbeat, type LeaderHeartbeats } from "./leader-heartbeat.ts";

type Positions = Pick<Heartbeat, "epoch" | "publishedLsn" | "confirmedLsn" | "forgotten">;

/** Tells standbys every second that this ingester leads, from taking the lock to letting it go. */
export interface LeadAnnouncer {
  /** What to say of the log; set once there is something to say. */
  positions: () => Positions;
  setLag(lagBytes: number): void;
  stop(): void;
}

export function announceLead(heartbeats: LeaderHeartbeats | undefined, ingester: string): LeadAnnouncer {
  let lagBytes = 0;
  const announcer: LeadAnnouncer = {
    positions: () => ({ epoch: 0, publishedLsn: "0/0", confirmedLsn: "0/0" }),
    setLag: (bytes) => (lagBytes = bytes),
    stop: () => clearInterval(timer),
  };
  const send = (): void => heartbeats?.send({ ingester, ...announcer.positions(), lagBytes });
  send();
  const timer = setInterval(send, heartbeatEveryMs);
  return announcer;
}
