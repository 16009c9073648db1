-- The tables that every message writes, without what costs more than it tells.

-- A key of 8 bytes and no copy of the body's hash: half the row, a third of the log. Whether two equal keys mean one
-- control id is looked up in `message` when a key was there already.
DROP TABLE duplicate;
CREATE TABLE duplicate (
    day        date   NOT NULL,
    key        bigint NOT NULL,
    message_id bigint NOT NULL,
    CONSTRAINT duplicate_key PRIMARY KEY (key, day)
) PARTITION BY RANGE (day);
COMMENT ON TABLE duplicate IS 'Receive keys of the last days: the same key again is a repeat, not a new message. Today and yesterday are checked.';
COMMENT ON COLUMN duplicate.day IS 'UTC day on which the message came; the partitions are ranges of it.';
COMMENT ON COLUMN duplicate.key IS '8-byte hash of receive port, MSH-3, MSH-4 and MSH-10. Equal keys of different control ids are no repeat.';
COMMENT ON COLUMN duplicate.message_id IS 'The first message with that key.';

-- A check is parsed anew by every INSERT of a batch. Kinds come from an enum, sequences are counted up from the tail.
ALTER TABLE work DROP CONSTRAINT work_sequence_positive, DROP CONSTRAINT work_kind;
ALTER TABLE progress DROP CONSTRAINT progress_forward;

-- What a receiver answered is found from the message that it answers; nobody searches for the control id of an ACK.
DROP INDEX message_control_id;
CREATE INDEX message_control_id ON message (control_id, id) WHERE control_id IS NOT NULL AND message_type <> 'ACK';

-- Deliveries (6) are found by their message, which the turn that sent it names.
DROP INDEX tracking_instance;
CREATE INDEX tracking_instance ON tracking (instance) WHERE instance IS NOT NULL AND kind <> 6;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'orderly_engine') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON duplicate TO orderly_engine;
    END IF;
END $$;
