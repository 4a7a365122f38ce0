-- object: function realtime.broadcast_changes(text, text, text, text, text, record, record, text)
-- For row triggers: the row as a private broadcast (protocol.md 5.4).
CREATE FUNCTION realtime.broadcast_changes(
  topic_name text, event_name text, operation text, table_name text, table_schema text,
  new record, old record, level text DEFAULT 'ROW'
) RETURNS void LANGUAGE plpgsql AS
$$
DECLARE
  after jsonb;
  before jsonb;
BEGIN
  IF level = 'STATEMENT' THEN
    RAISE EXCEPTION 'function can only be triggered for each row, not for each statement';
  END IF;
  CASE operation
    WHEN 'INSERT' THEN after := to_jsonb(new);
    WHEN 'DELETE' THEN before := to_jsonb(old);
    WHEN 'UPDATE' THEN
      after := to_jsonb(new);
      before := to_jsonb(old);
    ELSE RAISE EXCEPTION 'Unexpected operation type: %', operation;
  END CASE;
  PERFORM realtime.send(
    jsonb_build_object('old_record', before, 'record', after, 'operation', operation, 'table', table_name, 'schema', table_schema),
    event_name, topic_name);
EXCEPTION WHEN OTHERS THEN
  RAISE EXCEPTION 'Failed to process the row: %', SQLERRM;
END
$$;
