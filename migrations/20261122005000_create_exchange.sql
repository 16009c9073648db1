-- Questions that came by a two-way receive port: each is closed once, by its response or by AE when none came in time.
CREATE TABLE exchange (
    message_id  bigint      NOT NULL CONSTRAINT exchange_key PRIMARY KEY,
    control_id  text        NOT NULL COLLATE "C",
    port        text        NOT NULL COLLATE "C",
    route       text        COLLATE "C",
    opened_at   timestamptz NOT NULL,
    due_at      timestamptz NOT NULL,
    response    bigint,
    closed_at   timestamptz,
    returned_at timestamptz,
    CONSTRAINT exchange_closed_with_response CHECK ((response IS NULL) = (closed_at IS NULL)),
    CONSTRAINT exchange_returned_after_response CHECK (returned_at IS NULL OR response IS NOT NULL)
);
CREATE INDEX exchange_control_id_idx ON exchange (control_id);
CREATE INDEX exchange_due_idx ON exchange (due_at) WHERE response IS NULL;
CREATE INDEX exchange_not_returned_idx ON exchange (closed_at) WHERE returned_at IS NULL AND response IS NOT NULL;
COMMENT ON TABLE exchange IS 'Questions of two-way receive ports and their responses, and application acknowledgments that orchestrations decided; a day after its end the row is dropped.';
COMMENT ON COLUMN exchange.message_id IS 'The message that asks.';
COMMENT ON COLUMN exchange.control_id IS 'Its MSH-10, which the response names in MSA-2.';
COMMENT ON COLUMN exchange.port IS 'Receive port that it came by.';
COMMENT ON COLUMN exchange.route IS 'Send port that the response takes to the asker; null: the connection of the question.';
COMMENT ON COLUMN exchange.opened_at IS 'When the question was stored.';
COMMENT ON COLUMN exchange.due_at IS 'When the asker is answered AE because no response came.';
COMMENT ON COLUMN exchange.response IS 'What closed it: the response, or our AE. Null while it is open.';
COMMENT ON COLUMN exchange.closed_at IS 'When that was stored.';
COMMENT ON COLUMN exchange.returned_at IS 'When the response was handed over: to the send port, or written to the connection of the asker. Null: it is still owed, or it is shown to a person because the asker hung up.';

CREATE FUNCTION owe_responses(p_now timestamptz, p_returned jsonb) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_done integer := 0;
BEGIN
    IF p_returned IS NULL THEN
        RETURN 0;
    END IF;
    INSERT INTO exchange (message_id, control_id, port, route, opened_at, due_at, response, closed_at, returned_at)
    SELECT u.message, u.control_id, u.port, u.route, p_now, p_now, u.response, p_now,
           CASE WHEN u.route IS NOT NULL THEN p_now END
      FROM jsonb_to_recordset(p_returned)
           AS u(message bigint, control_id text, port text, route text, response bigint)
        ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_done = ROW_COUNT;
    RETURN v_done;
END $$;
COMMENT ON FUNCTION owe_responses IS 'Acknowledgments that orchestrations decided go back to the senders of the messages like responses: each message gets one. Null: none.';
