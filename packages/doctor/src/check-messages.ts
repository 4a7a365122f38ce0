import type { PostgresFacts } from "./facts.ts";
import { sql, type Finding } from "./finding.ts";

/** For gateways: whether broadcasts from the database, and the probe rows of private channels, have a place. */
export function checkMessages({ messages }: PostgresFacts): readonly Finding[] {
  if (messages === undefined || (messages.hasToday && messages.hasTomorrow)) return [];
  const { hasToday } = messages;
  const consequence = "broadcasts from the database are lost and private channels fail";
  return [
    {
      severity: hasToday ? "warning" : "error",
      code: "MESSAGES_PARTITION",
      subject: "table realtime.messages",
      reason: hasToday
        ? `it has no partition for tomorrow, when ${consequence}`
        : `it has no partition for today: ${consequence}`,
      // Makes tables where there are none, as gateways do.
      fix: sql("SELECT realtime.walcast_ensure_partitions()", { isSafe: true }),
    },
  ];
}
