-- Operators stop and start the collecting of a send port, and see what its receiver has not answered.

ALTER TABLE port_state DROP CONSTRAINT port_state_kind;
ALTER TABLE port_state ADD CONSTRAINT port_state_kind
    CHECK (kind IN ('receive_location', 'send_port', 'orchestration', 'collector'));
COMMENT ON COLUMN collector.cause IS 'What closed it: count, bytes, time, operator.';
COMMENT ON COLUMN interchange_item.number IS 'Place in it, from 1; 0 is what stands for all of it, -1 its answer, when these are messages.';

CREATE INDEX collector_item_unanswered ON collector_item (collector) WHERE outcome = '';
CREATE INDEX collector_item_refused ON collector_item (collector) WHERE outcome NOT IN ('', 'AA', 'CA');
CREATE INDEX collector_late ON collector (answer_by) WHERE answer_by IS NOT NULL;
CREATE INDEX interchange_item_bad ON interchange_item (interchange) WHERE code <> '';
