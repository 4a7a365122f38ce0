-- object: function realtime.walcast_ensure_partitions()
-- Makes the daily partitions for yesterday to three days from now and returns how many were missing. inserted_at is local
-- time of whoever inserts: a day on either side of UTC's today covers every time zone.
CREATE FUNCTION realtime.walcast_ensure_partitions() RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
  today date := (now() AT TIME ZONE 'UTC')::date;
  made integer := 0;
  day date;
  partition text;
BEGIN
  FOR day IN SELECT today + n FROM generate_series(-1, 3) AS n LOOP
    partition := 'messages_' || to_char(day, 'YYYY_MM_DD');
    CONTINUE WHEN to_regclass(format('realtime.%I', partition)) IS NOT NULL;
    -- Two at once wait here, and the second finds what the first made, though not by to_regclass, which may have cached
    -- that there was nothing. A partition that is there costs no lock.
    PERFORM pg_advisory_xact_lock(hashtextextended('realtime.walcast_ensure_partitions', 0));
    CONTINUE WHEN EXISTS (
      SELECT FROM pg_class WHERE relnamespace = 'realtime'::regnamespace AND relname = partition);
    EXECUTE format('CREATE TABLE realtime.%I PARTITION OF realtime.messages FOR VALUES FROM (%L) TO (%L)',
                   partition, day, day + 1);
    -- The parent's policies are not asked where somebody is granted the partition itself, as by default privileges.
    EXECUTE format('ALTER TABLE realtime.%I ENABLE ROW LEVEL SECURITY', partition);
    made := made + 1;
  END LOOP;
  RETURN made;
END
$$;
-- It acts with its owner's rights.
REVOKE ALL ON FUNCTION realtime.walcast_ensure_partitions() FROM PUBLIC;
