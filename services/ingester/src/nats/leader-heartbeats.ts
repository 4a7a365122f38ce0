import type { NatsConnection } from "@nats-io/nats-core";
import { leaderSubject } from "@walcast/change-log";
import type { Heartbeat, LeaderHeartbeats } from "../leader-heartbeat.ts";

/** Heartbeats on a core subject: they matter now or not at all. */
export function natsHeartbeats(nc: NatsConnection, source: string): LeaderHeartbeats {
  const subject = leaderSubject(source);
  let isConnected = true;
  void (async () => {
    for await (const status of nc.status()) {
      if (status.type === "disconnect") isConnected = false;
      if (status.type === "reconnect") isConnected = true;
    }
  })();
  return {
    get isConnected() {
      return isConnected && !nc.isClosed();
    },
    send(heartbeat) {
      if (!nc.isClosed()) nc.publish(subject, JSON.stringify(heartbeat));
    },
    listen(onHeartbeat) {
      const subscription = nc.subscribe(subject, {
        callback: (error, message) => {
          if (error === null) onHeartbeat(message.json<Heartbeat>());
        },
      });
      return () => subscription.unsubscribe();
    },
  };
}
