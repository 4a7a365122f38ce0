-- object: function realtime.send(jsonb, text, text, boolean)
-- A broadcast from the database. What goes wrong is a warning: no transaction is lost for a message (protocol.md 5.4).
CREATE FUNCTION realtime.send(payload jsonb, event text, topic text, private boolean DEFAULT true) RETURNS void
  LANGUAGE plpgsql AS
$$
DECLARE
  message_id uuid := gen_random_uuid();
BEGIN
  IF jsonb_typeof(payload) IS DISTINCT FROM 'object' THEN
    RAISE EXCEPTION 'payload must be a JSON object';
  END IF;
  -- A policy for inserting may ask for realtime.topic().
  PERFORM set_config('realtime.topic', topic, true);
  INSERT INTO realtime.messages (id, payload, event, topic, private, extension)
  VALUES (message_id, jsonb_build_object('id', message_id) || payload, event, topic, private, 'broadcast');
EXCEPTION WHEN OTHERS THEN
  RAISE WARNING 'WarnSendingBroadcastMessage: %', SQLERRM;
END
$$;
