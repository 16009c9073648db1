-- A screen that is locked, and what keeps a port from working.

ALTER TABLE session ADD COLUMN locked_at timestamptz;
COMMENT ON COLUMN session.locked_at IS 'Since when its screen is locked: nothing is shown until the person gives the password again; null: not locked.';

CREATE TABLE port_trouble (
    kind     text        NOT NULL COLLATE "C",
    name     text        NOT NULL COLLATE "C",
    node     smallint    NOT NULL,
    state    text        NOT NULL,
    since    timestamptz NOT NULL,
    until    timestamptz,
    text     text        NOT NULL DEFAULT '',
    CONSTRAINT port_trouble_key PRIMARY KEY (kind, name, node),
    CONSTRAINT port_trouble_state CHECK (state IN ('open', 'probing', 'closed'))
);
COMMENT ON TABLE port_trouble IS 'What keeps a port from working on a node right now. A row comes and goes with the trouble; most of the time there is none.';
COMMENT ON COLUMN port_trouble.kind IS 'receive_location or send_port.';
COMMENT ON COLUMN port_trouble.name IS 'Name of the port; port/location for an entrance.';
COMMENT ON COLUMN port_trouble.node IS 'Slot of the node that tells it.';
COMMENT ON COLUMN port_trouble.state IS 'open: the circuit breaker lets nothing through; probing: one message shows whether the receiver is back; closed: the location cannot listen.';
COMMENT ON COLUMN port_trouble.since IS 'When it began.';
COMMENT ON COLUMN port_trouble.until IS 'When the breaker lets the next message through as a probe.';
COMMENT ON COLUMN port_trouble.text IS 'Why a location cannot listen.';
