-- Bulk actions of operators: what they take is frozen when they are started, and how far they are can be seen.
CREATE TABLE job (
    id         bigint      NOT NULL CONSTRAINT job_key PRIMARY KEY,
    action     text        NOT NULL,
    target     text        NOT NULL DEFAULT '',
    title      text        NOT NULL,
    person     text        NOT NULL,
    reason     text        NOT NULL,
    state      text        NOT NULL DEFAULT 'running',
    pace       integer,
    stop_after integer,
    total      integer     NOT NULL,
    done       integer     NOT NULL DEFAULT 0,
    changed    integer     NOT NULL DEFAULT 0,
    failed     integer     NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    due_at     timestamptz NOT NULL,
    ended_at   timestamptz,
    version    integer     NOT NULL DEFAULT 0,
    CONSTRAINT job_action CHECK (action IN ('resume', 'terminate', 'move', 'suspend')),
    CONSTRAINT job_state CHECK (state IN ('running', 'paused', 'done', 'stopped', 'cancelled')),
    CONSTRAINT job_pace_positive CHECK (pace > 0),
    CONSTRAINT job_stop_after_positive CHECK (stop_after > 0)
);
COMMENT ON TABLE job IS 'Actions on many pieces of parked work. Any node takes the next step; the row is locked for it.';
COMMENT ON COLUMN job.target IS 'Send port that a move goes to.';
COMMENT ON COLUMN job.title IS 'What was taken, in words: the cause and place of a group.';
COMMENT ON COLUMN job.state IS 'running, paused (goes on when told), done, stopped (too many failed), cancelled.';
COMMENT ON COLUMN job.pace IS 'Pieces of work a second; null: as fast as it goes.';
COMMENT ON COLUMN job.stop_after IS 'So many resumed pieces that are suspended again stop it; null: none do.';
COMMENT ON COLUMN job.done IS 'Pieces of work acted on.';
COMMENT ON COLUMN job.changed IS 'Left alone: they changed after they were chosen.';
COMMENT ON COLUMN job.failed IS 'Could not be acted on, or resumed and suspended again.';
COMMENT ON COLUMN job.due_at IS 'When the next step may begin.';
CREATE INDEX job_running ON job (due_at) WHERE state = 'running';

CREATE TABLE job_item (
    job     bigint  NOT NULL REFERENCES job,
    ordinal integer NOT NULL,
    parked  bigint  NOT NULL,
    version integer NOT NULL,
    result  text,
    CONSTRAINT job_item_key PRIMARY KEY (job, ordinal)
);
COMMENT ON TABLE job_item IS 'The frozen selection of a job, with what came of each piece of work.';
COMMENT ON COLUMN job_item.version IS 'Version of the parked row when it was chosen: what changed since is left alone.';
COMMENT ON COLUMN job_item.result IS 'done, changed, or why not; null: its turn comes yet.';
CREATE INDEX job_item_left ON job_item (job, ordinal) WHERE result IS NULL;
