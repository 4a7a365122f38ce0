import { parseLsn, zeroLsn, type Lsn } from "@walcast/model";
import { DatabaseUnavailableError, endClient, type Database } from "@walcast/postgres";
import { Client } from "pg";
import { parseTimelineHistory, type Origin, type TimelineEnd } from "../log-origin.ts";
import { explain } from "./preflight.ts";

export interface Identity {
  readonly origin: Origin;
  /** How far the server's WAL goes. */
  readonly serverLsn: Lsn;
  /** Where former timelines ended. */
  readonly history: readonly TimelineEnd[];
}

/** Asks the server who it is (manual, "Streaming Replication Protocol": IDENTIFY_SYSTEM, TIMELINE_HISTORY). */
export async function identify(database: Database, slot: string): Promise<Identity> {
  // `replication` is known to the server and passed on by pg, whose types do not have it.
  const config = { ...database, application_name: "walcast identify", replication: "database" };
  const client = new Client(config);
  client.on("error", () => undefined); // told by the query that fails
  try {
    await client.connect().catch((cause: unknown) => {
      throw explain(new DatabaseUnavailableError({ cause }), slot);
    });
    const { rows } = await client.query<{ systemid: string; timeline: number; xlogpos: string }>("IDENTIFY_SYSTEM");
    const [row] = rows;
    if (row === undefined) throw new DatabaseUnavailableError();
    const { timeline } = row;
    return {
      origin: { systemId: row.systemid, timeline },
      serverLsn: parseLsn(row.xlogpos) ?? zeroLsn,
      history: timeline > 1 ? await readHistory(client, timeline) : [],
    };
  } finally {
    await endClient(client);
  }
}

async function readHistory(client: Client, timeline: number): Promise<TimelineEnd[]> {
  const { rows } = await client.query<{ content: Buffer | string }>(`TIMELINE_HISTORY ${timeline}`);
  return parseTimelineHistory(rows[0]?.content.toString() ?? "");
}
