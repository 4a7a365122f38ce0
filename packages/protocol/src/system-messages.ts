/** The payload of a `system` push (protocol.md 4.7). */
export interface SystemMessage {
  readonly extension: string;
  readonly status: "ok" | "error";
  readonly message: string;
  /** The subtopic: the topic without `realtime:`. */
  readonly channel: string;
}

/** Supabase's own topics all begin with this. */
export const topicPrefix = "realtime:";

export const subtopicOf = (topic: string): string =>
  topic.startsWith(topicPrefix) ? topic.slice(topicPrefix.length) : topic;

const postgresChanges = (status: "ok" | "error", message: string, topic: string): SystemMessage => ({
  extension: "postgres_changes",
  status,
  message,
  channel: subtopicOf(topic),
});

/** What comes after `position` is delivered. */
export const subscribed = (topic: string, position: string): SystemMessage & { position: string } => ({
  ...postgresChanges("ok", "Subscribed to PostgreSQL", topic),
  position,
});
export const subscribeFailed = (topic: string, message: string): SystemMessage =>
  postgresChanges("error", message, topic);

/** The server ends the channel for this reason (protocol.md 4.10). */
export const shutdown = (topic: string, message: string): SystemMessage => ({
  extension: "system",
  status: "error",
  message,
  channel: subtopicOf(topic),
});

/** Broadcasts from the database reach the channel from here on; asked for by `replication_ready` (protocol.md 5.4). */
export const databaseBroadcastsReady = (topic: string): SystemMessage => ({
  extension: "system",
  status: "ok",
  message: "Replication connection established",
  channel: subtopicOf(topic),
});

/** Before close code 1012; alone among system messages it has no `channel` (protocol.md 1.6). */
export const serverDisconnect = {
  extension: "system",
  status: "ok",
  message: "Server requested disconnect",
} as const;

/** Changes after `after` are gone for good: refetch, and go on from `current` (design, "Resume"). */
export const resumeGap = (
  topic: string,
  { after, current }: { after: string; current: string },
): SystemMessage & { position: string } => ({
  extension: "resume",
  status: "error",
  message: `ResumeGap: changes after ${after} up to ${current} are not available any more; read the rows again`,
  channel: subtopicOf(topic),
  position: current,
});

/** Where the client's resume id was cannot be told: it goes on from `current`, and may have missed what came before. */
export const resumeUnknown = (topic: string, current: string): SystemMessage & { position: string } => ({
  extension: "resume",
  status: "error",
  message: `ResumeUnknown: it cannot be told what this client was sent; changes before ${current} may be missing; read the rows again`,
  channel: subtopicOf(topic),
  position: current,
});

/** Everything after the position that the join named has been sent, up to `current`; from here on the channel is live. */
export const resumed = (topic: string, current: string): SystemMessage & { position: string } => ({
  extension: "resume",
  status: "ok",
  message: "Resumed",
  channel: subtopicOf(topic),
  position: current,
});

const snapshot = (status: "ok" | "error", message: string, topic: string): SystemMessage => ({
  extension: "snapshot",
  status,
  message,
  channel: subtopicOf(topic),
});

/** All rows have been sent; the changes after `position` that are not in them follow. */
export const snapshotSent = (topic: string, position: string): SystemMessage & { position: string } => ({
  ...snapshot("ok", "Snapshot sent", topic),
  position,
});
/** It is not tried again: the channel gets neither rows nor changes. */
export const snapshotRefused = (topic: string, reason: string): SystemMessage =>
  snapshot("error", `SnapshotRefused: ${reason}`, topic);
/** The rows come again from the first on. */
export const snapshotInterrupted = (topic: string, reason: string): SystemMessage =>
  snapshot("error", `SnapshotInterrupted: ${reason}; trying again`, topic);
