-- What a node begins after a crash, noted before it begins: what ends the process again and again is found and parked.
CREATE TABLE attempt (
    lane     integer  NOT NULL,
    sequence bigint   NOT NULL,
    instance bigint   NOT NULL,
    token    integer  NOT NULL,
    ended    smallint NOT NULL,
    CONSTRAINT attempt_key PRIMARY KEY (lane, sequence, instance, token)
);
COMMENT ON TABLE attempt IS 'Work and timers that were begun after a crash and are not finished. Empty while all is well.';
COMMENT ON COLUMN attempt.lane IS 'Lane of the work; 0 for a timer.';
COMMENT ON COLUMN attempt.sequence IS 'Place of the work in its lane; 0 for a timer.';
COMMENT ON COLUMN attempt.instance IS 'Instance of the timer; 0 for work.';
COMMENT ON COLUMN attempt.token IS 'Which timer of the instance; 0 for work.';
COMMENT ON COLUMN attempt.ended IS 'Times it was begun since; at five it is parked instead.';
