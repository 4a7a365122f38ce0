import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import type { Config } from "@walcast/config";
import pg from "pg";
import { DatabaseUnavailableError } from "./errors.ts";
import type { databaseSettings } from "./settings.ts";

/** What every connection of walcast to the source database has in common. */
export type Database = Readonly<pg.ClientConfig>;

export function databaseOf(config: Config<typeof databaseSettings>): Database {
  const common = { keepAlive: true, keepAliveInitialDelayMillis: 10_000, connectionTimeoutMillis: 10_000 };
  const ca = config.DB_SSL_CA_CERT;
  const tls = config.DB_SSL ? { ssl: ca === undefined ? true : { ca: readFileSync(ca, "utf8") } } : {};
  // What a URL says of TLS itself comes first.
  if (config.DATABASE_URL !== undefined) return { ...common, ...tls, connectionString: config.DATABASE_URL.reveal() };
  return {
    ...common,
    ...tls,
    host: config.DB_HOST ?? "localhost",
    port: config.DB_PORT,
    database: config.DB_NAME,
    user: config.DB_USER,
    password: config.DB_PASSWORD?.reveal() ?? "",
  };
}

/** A connected client. Throws DatabaseUnavailableError. Its later errors end its queries; `onLost` hears of them too. */
export async function connectClient(
  database: Database,
  options: { readonly applicationName: string; readonly onLost?: (error: Error) => void },
): Promise<pg.Client> {
  const client = new pg.Client({ ...database, application_name: options.applicationName });
  client.on("error", (error) => options.onLost?.(new DatabaseUnavailableError({ cause: error })));
  try {
    await client.connect();
    return client;
  } catch (cause) {
    throw new DatabaseUnavailableError({ cause });
  }
}

/** Ends a connection; one that does not answer within two seconds is cut. */
export async function endClient(client: pg.Client): Promise<void> {
  const cut = setTimeout(() => streamOf(client)?.destroy(), 2_000);
  try {
    await client.end();
  } catch {
    // It was gone already, which is what was asked for.
  } finally {
    clearTimeout(cut);
  }
}

/** The socket under a client, which `pg` has but does not declare. */
export function streamOf(client: pg.Client): Socket | undefined {
  const { connection } = client as unknown as { connection?: { stream?: Socket } };
  return connection?.stream;
}
