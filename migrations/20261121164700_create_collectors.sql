-- Outgoing batches: what a send port collects until a batch closes, and what became of each message in it.

ALTER TABLE subscriber DROP CONSTRAINT subscriber_kind;
ALTER TABLE subscriber ADD CONSTRAINT subscriber_kind CHECK (kind IN ('send_port', 'orchestration', 'collector'));
COMMENT ON TABLE subscriber IS 'Who can be given work: a send port, an orchestration, or the collector of a send port that sends batches.';

CREATE TABLE collector (
    id          bigint      NOT NULL CONSTRAINT collector_key PRIMARY KEY,
    subscriber  integer     NOT NULL REFERENCES subscriber,
    group_key   text        NOT NULL COLLATE "C",
    period_end  timestamptz,
    state       smallint    NOT NULL DEFAULT 1,
    opened_at   timestamptz NOT NULL,
    last_at     timestamptz,
    due_at      timestamptz,
    items       integer     NOT NULL DEFAULT 0,
    bytes       bigint      NOT NULL DEFAULT 0,
    sealed_at   timestamptz,
    cause       text        NOT NULL DEFAULT '',
    control_id  text        COLLATE "C",
    message_id  bigint,
    envelope    text        NOT NULL,
    by_control_id boolean   NOT NULL DEFAULT false,
    answer_by   timestamptz,
    CONSTRAINT collector_state CHECK (state BETWEEN 1 AND 2),
    CONSTRAINT collector_envelope CHECK (envelope IN ('bare', 'batch', 'file')),
    CONSTRAINT collector_sealed CHECK ((state = 2) = (message_id IS NOT NULL AND sealed_at IS NOT NULL))
) WITH (fillfactor = 70);
COMMENT ON TABLE collector IS 'Outgoing batches of send ports. An open one grows with the commits of its collector''s lane; a sealed one never changes again.';
COMMENT ON COLUMN collector.id IS 'Of the same making as message ids.';
COMMENT ON COLUMN collector.subscriber IS 'The collector, as number of the table subscriber.';
COMMENT ON COLUMN collector.group_key IS 'Values of the properties that the port groups by; may name a patient.';
COMMENT ON COLUMN collector.period_end IS 'With cut_off: the time of day that closes it; it takes what was received before. Else null.';
COMMENT ON COLUMN collector.state IS '1 open, 2 sealed.';
COMMENT ON COLUMN collector.opened_at IS 'When its first message was collected, or when the one before it closed.';
COMMENT ON COLUMN collector.last_at IS 'When its last message was collected.';
COMMENT ON COLUMN collector.due_at IS 'When it closes if nothing else closes it; null: only its size does.';
COMMENT ON COLUMN collector.items IS 'Messages in it.';
COMMENT ON COLUMN collector.bytes IS 'Bytes of them.';
COMMENT ON COLUMN collector.sealed_at IS 'When it was closed.';
COMMENT ON COLUMN collector.cause IS 'What closed it: count, bytes, time.';
COMMENT ON COLUMN collector.control_id IS 'FHS-11 and BHS-11.';
COMMENT ON COLUMN collector.message_id IS 'The message that stands for it: its envelope without its messages. It is what the send port delivers.';
COMMENT ON COLUMN collector.envelope IS 'What is written around the messages.';
COMMENT ON COLUMN collector.by_control_id IS 'Its messages leave in the order of MSH-10, not of arrival.';
COMMENT ON COLUMN collector.answer_by IS 'By when the receiver''s answer is awaited; null: none is.';
CREATE UNIQUE INDEX collector_open_once ON collector (subscriber, group_key, coalesce(period_end, 'infinity')) WHERE state = 1;
CREATE UNIQUE INDEX collector_of_message ON collector (message_id) WHERE message_id IS NOT NULL;

CREATE TABLE collector_item (
    collector  bigint  NOT NULL REFERENCES collector,
    number     integer NOT NULL,
    message_id bigint  NOT NULL,
    control_id text    NOT NULL DEFAULT '' COLLATE "C",
    outcome    text    NOT NULL DEFAULT '',
    CONSTRAINT collector_item_once PRIMARY KEY (collector, number)
);
COMMENT ON TABLE collector_item IS 'Messages of outgoing batches, in the order in which they were published.';
COMMENT ON COLUMN collector_item.collector IS 'Which batch.';
COMMENT ON COLUMN collector_item.number IS 'Place in it, from 1.';
COMMENT ON COLUMN collector_item.message_id IS 'The message.';
COMMENT ON COLUMN collector_item.control_id IS 'Its MSH-10, which the answer names in MSA-2.';
COMMENT ON COLUMN collector_item.outcome IS 'MSA-1 of the answer to it; empty while there is none.';
CREATE INDEX collector_item_message ON collector_item (message_id);
CREATE INDEX collector_item_awaited ON collector_item (control_id) WHERE outcome = '';
