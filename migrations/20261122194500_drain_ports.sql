-- Send ports are drained: what waits is sent, then they are on hold.

ALTER TABLE port_state DROP CONSTRAINT port_state_state;
ALTER TABLE port_state ADD CONSTRAINT port_state_state CHECK (state IN ('running', 'on_hold', 'draining'));
COMMENT ON COLUMN port_state.state IS 'running; on_hold; draining: what was there at changed_at is sent, then it is on_hold.';
