import { connectClient, endClient, type Database } from "@walcast/postgres";

/** A table to try things on, in a database of our own only. Full identity: updates and deletes show the whole old row. */
const demoSql = `
  CREATE TABLE IF NOT EXISTS public.todos (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task text NOT NULL,
    done boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
  );
  ALTER TABLE public.todos REPLICA IDENTITY FULL;
  DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'supabase_realtime') THEN
      CREATE PUBLICATION supabase_realtime FOR ALL TABLES;
    END IF;
  END $$;`;

export async function createDemo(database: Database): Promise<void> {
  const client = await connectClient(database, { applicationName: "walcast demo" });
  try {
    await client.query(demoSql);
  } finally {
    await endClient(client);
  }
}
