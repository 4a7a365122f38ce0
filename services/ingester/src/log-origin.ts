import { formatLsn, parseLsn, type Lsn } from "@walcast/model";

/** The server and timeline that changes were read from. LSNs are comparable only within one. */
export interface Origin {
  /** IDENTIFY_SYSTEM's systemid: differs after a dump and restore, never after a failover. */
  readonly systemId: string;
  /** Rises by one with every promotion. */
  readonly timeline: number;
}

export const formatOrigin = ({ systemId, timeline }: Origin): string => `${systemId}/${timeline}`;

export function parseOrigin(text: string): Origin | undefined {
  const match = /^(\d+)\/(\d+)$/.exec(text);
  return match === null ? undefined : { systemId: match[1] ?? "", timeline: Number(match[2]) };
}

/** A line of a timeline history file: the timeline ended, and its successor began, at this LSN. */
export interface TimelineEnd {
  readonly timeline: number;
  readonly lsn: Lsn;
}

/** Reads TIMELINE_HISTORY's content: `1 <tab> 0/3000060 <tab> reason` (manual, "Streaming Replication Protocol"). */
export function parseTimelineHistory(content: string): TimelineEnd[] {
  return content.split("\n").flatMap((line) => {
    const [timeline = "", lsnText = ""] = line.trim().split(/\s+/);
    const lsn = parseLsn(lsnText);
    return /^\d+$/.test(timeline) && lsn !== undefined ? [{ timeline: Number(timeline), lsn }] : [];
  });
}

/**
 * Why the log cannot be continued from this server, in words for the operator; undefined when it can. A promoted standby
 * may lack commits that its predecessor had sent and the log holds; a restored server has another past altogether.
 */
export function continuityBreak(facts: {
  readonly logged: Origin | undefined;
  readonly current: Origin;
  /** Commit LSN of the log's last change; undefined where the log does not say any more. */
  readonly logEnd: Lsn | undefined;
  readonly history: readonly TimelineEnd[];
  /** How far the server's WAL goes. */
  readonly serverLsn: Lsn;
}): string | undefined {
  const { logged, current, logEnd, history, serverLsn } = facts;
  if (logged === undefined) return undefined;
  if (logged.systemId !== current.systemId) {
    return `the log was read from server ${logged.systemId}, this is server ${current.systemId}`;
  }
  if (logged.timeline > current.timeline) {
    return `the server went back from timeline ${logged.timeline} to ${current.timeline}`;
  }
  const hasChanged = logged.timeline < current.timeline;
  if (logEnd === undefined) {
    return hasChanged ? "another server took over, and the log does not say any more what it held" : undefined;
  }
  const ended = history.find(({ timeline }) => timeline === logged.timeline);
  if (hasChanged && ended === undefined) {
    return `timeline ${current.timeline} does not come from timeline ${logged.timeline}, which the log was read from`;
  }
  if (hasChanged && ended !== undefined && logEnd >= ended.lsn) {
    return `the log holds commits up to ${formatLsn(logEnd)}, the promoted server took over at ${formatLsn(ended.lsn)}`;
  }
  if (logEnd >= serverLsn) {
    return `the log holds commits up to ${formatLsn(logEnd)}, the server's WAL ends at ${formatLsn(serverLsn)}`;
  }
  return undefined;
}
