-- object: function realtime.walcast_drop_old_partitions(interval)
-- Drops daily partitions whose every row is older than what is kept, and returns how many (protocol.md 5.2).
CREATE FUNCTION realtime.walcast_drop_old_partitions(keep interval DEFAULT '72 hours') RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
  dropped integer := 0;
  partition record;
BEGIN
  FOR partition IN
    SELECT c.relname AS name
      FROM pg_inherits i
      JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'realtime.messages'::regclass
       AND c.relnamespace = 'realtime'::regnamespace
       AND c.relname ~ '^messages_\d{4}_\d{2}_\d{2}$'
       AND to_date(right(c.relname, 10), 'YYYY_MM_DD') + 1 <= (now() AT TIME ZONE 'UTC') - keep
     ORDER BY c.relname
  LOOP
    EXECUTE format('DROP TABLE IF EXISTS realtime.%I', partition.name);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
END
$$;
REVOKE ALL ON FUNCTION realtime.walcast_drop_old_partitions(interval) FROM PUBLIC;
