-- Searching messages by properties that the site declares (tracking.index): a table of its own, because an index on
-- `message` would cost every message, whether anybody searches by it or not.

CREATE TABLE message_search (
    key       bigint   NOT NULL,
    id        bigint   NOT NULL,
    retention smallint NOT NULL DEFAULT 0
) PARTITION BY LIST (retention);
COMMENT ON TABLE message_search IS 'Which messages have a value of a declared property; written with the message, partitioned and dropped like it.';
COMMENT ON COLUMN message_search.key IS 'First 8 bytes of SHA-256 over name and value; what has it by chance is left out by looking at message.context.';
COMMENT ON COLUMN message_search.id IS 'The message.';
COMMENT ON COLUMN message_search.retention IS 'Its retention class, so that both are dropped together.';
CREATE INDEX message_search_key ON message_search (key, id);

CREATE TABLE message_search_kept PARTITION OF message_search FOR VALUES IN (-1);
COMMENT ON TABLE message_search_kept IS 'Those of messages that outlived their day.';

CREATE TABLE search_property (
    name  text        NOT NULL COLLATE "C" CONSTRAINT search_property_key PRIMARY KEY,
    since timestamptz NOT NULL
);
COMMENT ON TABLE search_property IS 'Properties that messages can be searched by now.';
COMMENT ON COLUMN search_property.since IS 'Messages from here on are in message_search; older ones came before it was declared.';

CREATE FUNCTION record_search_keys(p_key bigint[], p_id bigint[], p_retention smallint[]) RETURNS integer
LANGUAGE plpgsql STRICT AS $$
BEGIN
    INSERT INTO message_search (key, id, retention)
    SELECT p_key[r], p_id[r], p_retention[r]
      FROM generate_series(1, cardinality(p_key)) AS r;
    RETURN cardinality(p_key);
END $$;
COMMENT ON FUNCTION record_search_keys IS 'Notes what messages can be searched by.';

ALTER TABLE patient_search RENAME COLUMN patient TO value;
ALTER TABLE patient_search ADD COLUMN property text COLLATE "C";
COMMENT ON COLUMN patient_search.value IS 'The patient id, or the value of the property.';
COMMENT ON COLUMN patient_search.property IS 'Name of the declared property; null: a search by patient id.';
COMMENT ON TABLE patient_search IS 'What people searched by patient, or by a declared property, in the last hours; an address such as /messages?s=... names the row, never the value.';
