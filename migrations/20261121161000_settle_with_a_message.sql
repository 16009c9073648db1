-- What a received message settles besides being stored: awaited answers, sequence numbers, fragments, exchanges. Rare and wide, so
-- it comes as one JSON; the transaction that stores the message does it too.

-- Sequence number protocol (HL7 v2, ch. 2: MSH-13, MSA-4): one row for each link that numbers its messages.
CREATE TABLE sequence_link (
    link       text        NOT NULL COLLATE "C" CONSTRAINT sequence_link_key PRIMARY KEY,
    last       bigint,
    changed_at timestamptz NOT NULL,
    CONSTRAINT sequence_link_positive CHECK (last > 0)
);
COMMENT ON TABLE sequence_link IS 'Last number accepted of each sender that numbers its messages. One message is under way on such a link, so the row is not hot.';
COMMENT ON COLUMN sequence_link.link IS 'Receive location with sending application and facility, as "port/location|app|facility".';
COMMENT ON COLUMN sequence_link.last IS 'Null: the next positive number is the base.';
COMMENT ON COLUMN sequence_link.changed_at IS 'When the last number was accepted.';

-- Continuation protocol (DSC, MSH-14): fragments that wait for the next one.
CREATE TABLE fragment (
    link      text        NOT NULL COLLATE "C",
    pointer   text        NOT NULL COLLATE "C",
    messages  bigint[]    NOT NULL,
    opened_at timestamptz NOT NULL,
    CONSTRAINT fragment_key PRIMARY KEY (link, pointer),
    CONSTRAINT fragment_has_messages CHECK (cardinality(messages) > 0)
);
COMMENT ON TABLE fragment IS 'Parts of a message that came, until the last one comes and they are joined.';
COMMENT ON COLUMN fragment.link IS 'Receive location with sending application and facility, as in sequence_link.';
COMMENT ON COLUMN fragment.pointer IS 'DSC-1 of the newest part: MSH-14 of the next one.';
COMMENT ON COLUMN fragment.messages IS 'Ids of the parts, in their order.';
COMMENT ON COLUMN fragment.opened_at IS 'When the newest part came; what waits too long is shown to a person.';

CREATE FUNCTION settle(p_now timestamptz, p_settled jsonb) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_outcome record;
    v_wanted integer;
    v_hit    integer;
BEGIN
    IF p_settled IS NULL THEN
        RETURN 0;
    END IF;
    DELETE FROM expectation e
     USING jsonb_to_recordset(p_settled -> 'expectations') AS u(message bigint, instance bigint, send integer)
     WHERE e.message_id = u.message
       AND e.instance = u.instance
       AND e.send = u.send;
    GET DIAGNOSTICS v_hit = ROW_COUNT;
    v_wanted := jsonb_array_length(p_settled -> 'expectations');

    INSERT INTO sequence_link AS l (link, last, changed_at)
    SELECT u.link, u.after, p_now
      FROM jsonb_to_recordset(p_settled -> 'links') AS u(link text, before bigint, after bigint)
        ON CONFLICT (link) DO UPDATE SET last = excluded.last, changed_at = excluded.changed_at
     WHERE l.last IS NOT DISTINCT FROM (
           SELECT u.before FROM jsonb_to_recordset(p_settled -> 'links') AS u(link text, before bigint)
            WHERE u.link = l.link);
    v_wanted := v_wanted + jsonb_array_length(p_settled -> 'links') - v_hit;
    GET DIAGNOSTICS v_hit = ROW_COUNT;
    IF v_hit <> v_wanted THEN
        RAISE EXCEPTION 'somebody else settled it' USING ERRCODE = 'OB004';
    END IF;

    DELETE FROM fragment f
     USING jsonb_to_recordset(p_settled -> 'continued') AS u(link text, pointer text)
     WHERE f.link = u.link
       AND f.pointer = u.pointer;
    GET DIAGNOSTICS v_hit = ROW_COUNT;
    INSERT INTO fragment (link, pointer, messages, opened_at)
    SELECT u.link, u.pointer, ARRAY(SELECT jsonb_array_elements_text(u.messages)::bigint), p_now
      FROM jsonb_to_recordset(p_settled -> 'fragments') AS u(link text, pointer text, messages jsonb)
        ON CONFLICT DO NOTHING;
    v_wanted := jsonb_array_length(p_settled -> 'continued') + jsonb_array_length(p_settled -> 'fragments') - v_hit;
    GET DIAGNOSTICS v_hit = ROW_COUNT;
    IF v_hit <> v_wanted THEN
        RAISE EXCEPTION 'somebody else settled it' USING ERRCODE = 'OB004';
    END IF;

    -- One by one: joined with the list, the planner reads all that is unanswered where it has no statistics yet, so that the
    -- answers to a big batch cost its square.
    FOR v_outcome IN
        SELECT u.collector, u.number, u.code
          FROM jsonb_to_recordset(p_settled -> 'outcomes') AS u(collector bigint, number integer, code text)
    LOOP
        UPDATE collector_item i
           SET outcome = v_outcome.code
         WHERE i.collector = v_outcome.collector
           AND i.number = v_outcome.number
           AND i.outcome = '';
        IF NOT FOUND THEN
            RAISE EXCEPTION 'somebody else settled it' USING ERRCODE = 'OB004';
        END IF;
    END LOOP;

    INSERT INTO exchange (message_id, control_id, port, route, opened_at, due_at)
    SELECT u.message, u.control_id, u.port, u.route, p_now, u.due_at
      FROM jsonb_to_recordset(p_settled -> 'asked')
           AS u(message bigint, control_id text, port text, route text, due_at timestamptz);
    UPDATE exchange e
       SET response = u.response,
           closed_at = p_now,
           returned_at = CASE WHEN e.route IS NOT NULL THEN p_now END
      FROM jsonb_to_recordset(p_settled -> 'responses') AS u(message bigint, response bigint)
     WHERE e.message_id = u.message
       AND e.response IS NULL;
    GET DIAGNOSTICS v_hit = ROW_COUNT;
    IF v_hit <> jsonb_array_length(p_settled -> 'responses') THEN
        RAISE EXCEPTION 'somebody else settled it' USING ERRCODE = 'OB004';
    END IF;
    RETURN 1;
END $$;
COMMENT ON FUNCTION settle IS 'Closes awaited answers, moves sequence numbers, keeps and takes fragments, notes what a receiver said of messages of a batch, opens and closes exchanges. Raises OB004 when one of them is not as it was read. Null: nothing.';
