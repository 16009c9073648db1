-- Sequence number protocol where we are the sender (HL7 v2, ch. 2: MSH-13, MSA-4): one row for each send port that numbers.
CREATE TABLE outgoing_sequence (
    port       text        NOT NULL COLLATE "C" CONSTRAINT outgoing_sequence_key PRIMARY KEY,
    number     bigint      NOT NULL,
    message_id bigint      NOT NULL,
    accepted   boolean     NOT NULL,
    frozen     boolean     NOT NULL DEFAULT false,
    changed_at timestamptz NOT NULL,
    CONSTRAINT outgoing_sequence_positive CHECK (number > 0)
);
COMMENT ON TABLE outgoing_sequence IS 'Which message has which number on a link that we number. One message is under way on such a link, so the row is not hot.';
COMMENT ON COLUMN outgoing_sequence.port IS 'The send port.';
COMMENT ON COLUMN outgoing_sequence.number IS 'The number given out last.';
COMMENT ON COLUMN outgoing_sequence.message_id IS 'The message that has it: it keeps it however often it is sent.';
COMMENT ON COLUMN outgoing_sequence.accepted IS 'Whether the receiver took it. False: a message that goes in its place takes the same number.';
COMMENT ON COLUMN outgoing_sequence.frozen IS 'The receiver counts differently: the port is on hold, and the link is started anew when somebody starts the port.';
COMMENT ON COLUMN outgoing_sequence.changed_at IS 'When the number was given or accepted.';
