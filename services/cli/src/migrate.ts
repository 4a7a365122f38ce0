import { connectClient, databaseOf, endClient } from "@walcast/postgres";
import { migrate, type MigrationReport } from "@walcast/realtime-schema";
import { readSourceConfig } from "./config.ts";
import type { MigrateFlags } from "./program.ts";

/** Brings schema `realtime` up to date and prints what was done. Throws what `migrate` throws. */
export async function runMigrate({ createRoles, gatewayRole, publish }: MigrateFlags): Promise<void> {
  const config = readSourceConfig();
  const client = await connectClient(databaseOf(config), { applicationName: "walcast migrate" });
  try {
    const report = await migrate(client, {
      createRoles,
      ...(gatewayRole === undefined ? {} : { gatewayRole }),
      publications: publish ? config.PUBLICATIONS : [],
    });
    process.stdout.write(`${describeReport(report)}\n`);
  } finally {
    await endClient(client);
  }
}

/** One line a kind; one line when there was nothing to do. */
export function describeReport({ applied, adopted, createdRoles, published }: MigrationReport): string {
  const done = [
    applied.length === 0 ? "" : `migrations applied: ${applied.join(", ")}`,
    adopted.length === 0 ? "" : `used as found, made by somebody else: ${adopted.join(", ")}`,
    createdRoles.length === 0 ? "" : `roles made: ${createdRoles.join(", ")}`,
    published.length === 0 ? "" : `realtime.messages added to: ${published.join(", ")}`,
  ].filter(Boolean);
  return done.length === 0 ? "schema realtime is up to date" : done.join("\n");
}
