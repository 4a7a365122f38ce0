import { backoff } from "@walcast/lifecycle";
import { connectClient, DatabaseUnavailableError, endClient, sqlStateOf, type Database } from "@walcast/postgres";
import { Janitor, MessagesPublicationMissingError, migrate } from "@walcast/realtime-schema";
import { describeError, type Logger } from "@walcast/telemetry";

export interface SchemaKeeperOptions {
  readonly database: Database;
  /** Bring the schema up to date first. */
  readonly isMigrating: boolean;
  /** They are to carry `realtime.messages` then. */
  readonly publications: readonly string[];
  readonly log: Logger;
  readonly intervalMs?: number;
}

/** What is stored for longer is dropped (protocol.md 5.2). */
const keepHours = 72;
/** Partitions are made for three days ahead. */
const everyMs = 3_600_000;
/** There is no schema, or not one of ours: Supabase's keeps its partitions itself. */
const nothingToKeep = new Set(["3F000", "42883"]);

/** Keeps the partitions of `realtime.messages` until the signal fires. Every gateway does; several at once do no harm. */
export async function keepSchema(options: SchemaKeeperOptions, signal: AbortSignal): Promise<void> {
  const { database, isMigrating, log, intervalMs = everyMs } = options;
  if (isMigrating) await migrateWhenPossible(options, signal);
  const janitor = new Janitor({
    database,
    keepHours,
    intervalMs,
    onReport({ made, dropped }) {
      if (made + dropped > 0) log.info({ made, dropped }, "partitions of realtime.messages were made and dropped");
    },
    onTrouble(error) {
      if (nothingToKeep.has(sqlStateOf(error) ?? "")) return;
      const remedy = "run `walcast migrate --gateway-role <this gateway's role>` as the schema's owner";
      const hint = sqlStateOf(error) === "42501" ? { remedy } : {};
      log.warn({ ...describeError(error), ...hint }, "the partitions of realtime.messages could not be kept");
    },
  });
  await janitor.run(signal);
}

/** The ingester may be making the publication at the same moment. */
async function migrateWhenPossible(
  { database, publications, log }: SchemaKeeperOptions,
  signal: AbortSignal,
): Promise<void> {
  for (let failures = 0; !signal.aborted;) {
    try {
      const report = await migrateOnce(database, publications);
      return log.info({ ...report }, "schema realtime is up to date");
    } catch (error) {
      const passes = error instanceof DatabaseUnavailableError || error instanceof MessagesPublicationMissingError;
      if (!passes) return log.error(describeError(error), "schema realtime could not be brought up to date");
      if (++failures === 5) log.warn(describeError(error), "schema realtime waits to be brought up to date");
      await backoff(failures, signal, { maxMs: 5_000 });
    }
  }
}

async function migrateOnce(database: Database, publications: readonly string[]): ReturnType<typeof migrate> {
  const client = await connectClient(database, { applicationName: "walcast migrate" });
  try {
    return await migrate(client, { publications });
  } finally {
    await endClient(client);
  }
}
