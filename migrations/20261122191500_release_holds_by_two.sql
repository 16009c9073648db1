-- Legal holds of instances, and their release by two persons.

ALTER TABLE legal_hold
    ADD COLUMN release_asked_by text,
    ADD COLUMN release_asked_at timestamptz,
    ADD COLUMN release_reason   text NOT NULL DEFAULT '',
    DROP CONSTRAINT legal_hold_kind,
    ADD CONSTRAINT legal_hold_kind CHECK (kind IN ('patient', 'message', 'instance')),
    ADD CONSTRAINT legal_hold_two_persons CHECK (ended_by IS NULL OR ended_by IS DISTINCT FROM release_asked_by);
COMMENT ON COLUMN legal_hold.kind IS 'patient: every message of a patient and what was made from it; message: one message; instance: every message that tracking names for an instance.';
COMMENT ON COLUMN legal_hold.object IS 'PID-3.1 as promoted, or the number of the message or instance.';
COMMENT ON COLUMN legal_hold.release_asked_by IS 'Who asked that it ends; another person must agree.';
COMMENT ON COLUMN legal_hold.release_asked_at IS 'When that was asked.';
COMMENT ON COLUMN legal_hold.release_reason IS 'Why it may end.';
COMMENT ON COLUMN legal_hold.ended_by IS 'Who agreed that it ends.';
COMMENT ON COLUMN legal_hold.ended_at IS 'When it ended; null while it holds.';
