-- Lets the realtime server see the table, if somebody made the publication it reads. Safe to run again.
DO $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('walcast example: service board', 0));
  -- pg_publication_tables also lists what FOR ALL TABLES and FOR TABLES IN SCHEMA include.
  IF EXISTS (SELECT FROM pg_publication WHERE pubname = 'supabase_realtime' AND NOT puballtables)
    AND NOT EXISTS (
      SELECT FROM pg_publication_tables
      WHERE pubname = 'supabase_realtime' AND schemaname = 'public' AND tablename = 'service'
    )
  THEN
    ALTER PUBLICATION supabase_realtime ADD TABLE public.service;
  END IF;
END
$$;
