import { sleep } from "@walcast/lifecycle";
import { connectClient, databaseOf, endClient } from "@walcast/postgres";
import type { Client } from "pg";
import { readSourceConfig } from "./config.ts";
import { SlotInUseError } from "./errors.ts";

const lookEveryMs = 500;

/**
 * Drops the slot once nobody reads it: ingesters that stop let it go within seconds. A slot that is not there is fine. Throws
 * SlotInUseError and DatabaseUnavailableError.
 */
export async function runDropSlot({ wait }: { readonly wait: number }): Promise<void> {
  const config = readSourceConfig();
  const slot = config.SLOT_NAME;
  const client = await connectClient(databaseOf(config), { applicationName: "walcast drop-slot" });
  try {
    const isDropped = await dropWhenFree(client, slot, wait);
    process.stdout.write(isDropped ? `replication slot ${slot} dropped\n` : `there is no replication slot ${slot}\n`);
  } finally {
    await endClient(client);
  }
}

async function dropWhenFree(client: Client, slot: string, waitSeconds: number): Promise<boolean> {
  const deadline = performance.now() + waitSeconds * 1_000;
  for (;;) {
    const { rows } = await client.query<{ active: boolean }>(
      "SELECT active FROM pg_replication_slots WHERE slot_name = $1 AND slot_type = 'logical' AND database = current_database()",
      [slot],
    );
    const [row] = rows;
    if (row === undefined) return false;
    if (!row.active) {
      await client.query("SELECT pg_drop_replication_slot($1)", [slot]);
      return true;
    }
    if (performance.now() >= deadline) throw new SlotInUseError(slot, waitSeconds);
    await sleep(lookEveryMs, new AbortController().signal);
  }
}
