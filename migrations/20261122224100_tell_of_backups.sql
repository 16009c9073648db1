-- A port whose first way is open and whose backup works is not down.
ALTER TABLE port_trouble DROP CONSTRAINT port_trouble_state;
ALTER TABLE port_trouble
    ADD CONSTRAINT port_trouble_state CHECK (state IN ('open', 'probing', 'backup', 'closed'));
