-- object: function realtime.topic()
-- The channel's subtopic, for policies on realtime.messages (protocol.md 5.2, 5.6).
CREATE FUNCTION realtime.topic() RETURNS text LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('realtime.topic', true), '') $$;
