import { resumable } from "@walcast/client";
import { liveRows } from "@walcast/client/live-rows";
import type { StartClient } from "./client-kind.ts";
import { openClient, type TortureVersion } from "./realtime-client.ts";

/** Keeps the rows themselves, made of nothing but what `onChange` told; compared with a SELECT in quiet moments. */
export const keepsRows =
  (version: TortureVersion): StartClient =>
  ({ port, token, table, filter }, heard) => {
    const { transport } = resumable();
    const client = openClient(version, port, { transport, params: { apikey: token } });
    const told = new Map<string, object>();
    let isReady = false;
    const { ready } = liveRows(client, {
      table,
      filter,
      onError: (message) => heard.complaint(message),
      onChange(changes) {
        for (const change of changes) {
          if (change.type === "delete") told.delete(change.key);
          else told.set(change.key, change.row);
        }
      },
    });
    void ready.then(() => (isReady = true));
    return { isReady: () => isReady, state: () => client.connectionState(), rows: () => [...told.values()] };
  };
