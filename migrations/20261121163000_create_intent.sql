-- Noted before each send of a port with `intent`: after a crash the message may have arrived, and a person decides.
CREATE TABLE intent (
    lane       integer     NOT NULL,
    sequence   bigint      NOT NULL,
    message_id bigint      NOT NULL,
    attempt    integer     NOT NULL,
    at         timestamptz NOT NULL,
    CONSTRAINT intent_key PRIMARY KEY (lane, sequence)
);
COMMENT ON TABLE intent IS 'Sends that were begun at ports whose receivers cannot bear a message twice. What the outcome of a send tells makes its row meaningless; such rows are removed later.';
COMMENT ON COLUMN intent.sequence IS 'Place of the work in its lane.';
COMMENT ON COLUMN intent.attempt IS 'Which attempt was begun.';
