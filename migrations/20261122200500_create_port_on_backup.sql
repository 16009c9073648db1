-- Send ports that go by their backup until an operator says otherwise (`backup.back: by_hand`).
CREATE TABLE port_on_backup (
    send_port text        NOT NULL,
    since     timestamptz NOT NULL,
    node      smallint    NOT NULL,
    CONSTRAINT port_on_backup_key PRIMARY KEY (send_port)
);
COMMENT ON TABLE port_on_backup IS 'Send ports whose backup returns by hand and is in use: all nodes send by it. A row comes with the first message that is moved and goes when an operator returns the port to its first way.';
COMMENT ON COLUMN port_on_backup.send_port IS 'Name of the port.';
COMMENT ON COLUMN port_on_backup.since IS 'When the first message was moved.';
COMMENT ON COLUMN port_on_backup.node IS 'Slot of the node that moved it.';
