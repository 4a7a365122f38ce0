-- Run once, when the database of docker-compose.yml is created.

-- FOR ALL TABLES: tables made later are streamed too. Name tables here if not everything may reach clients.
CREATE PUBLICATION supabase_realtime FOR ALL TABLES;

-- Something to try with. Full identity: updates and deletes show the whole old row.
CREATE TABLE public.todos (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  task text NOT NULL,
  done boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE public.todos REPLICA IDENTITY FULL;
