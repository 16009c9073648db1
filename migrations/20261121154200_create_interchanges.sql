-- What arrived in one go and holds several messages: files, and frames with a batch in them.

CREATE TABLE interchange (
    id          bigint      NOT NULL CONSTRAINT interchange_key PRIMARY KEY,
    source      integer     NOT NULL,
    node        smallint    NOT NULL,
    epoch       bigint      NOT NULL,
    name        text        NOT NULL,
    sha256      bytea       NOT NULL,
    bytes       bigint      NOT NULL,
    messages    integer     NOT NULL,
    batches     integer     NOT NULL,
    envelope    text        NOT NULL,
    control_id  text        NOT NULL DEFAULT '',
    party       text        COLLATE "C",
    checked     boolean     NOT NULL DEFAULT false,
    findings    text[]      NOT NULL DEFAULT '{}',
    code        text        NOT NULL DEFAULT '',
    reason      text        NOT NULL DEFAULT '',
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    CONSTRAINT interchange_envelope CHECK (envelope IN ('bare', 'batch', 'file')),
    CONSTRAINT interchange_sha_length CHECK (octet_length(sha256) = 32)
);
COMMENT ON TABLE interchange IS 'Files and frames that were taken apart into messages. Its progress is the rows of interchange_item: what is there is not published again.';
COMMENT ON COLUMN interchange.id IS 'Of the same making as message ids; a claimed file bears it in its name.';
COMMENT ON COLUMN interchange.source IS 'Receive location, as number of the table source.';
COMMENT ON COLUMN interchange.node IS 'Slot of the node that works on it; another one goes on with it when that node is gone.';
COMMENT ON COLUMN interchange.epoch IS 'Epoch of that slot.';
COMMENT ON COLUMN interchange.name IS 'Name of the file; empty for a frame. May name a patient: shown to those who may see messages.';
COMMENT ON COLUMN interchange.sha256 IS 'Hash of all its bytes: a frame that comes again goes on where its first delivery stopped.';
COMMENT ON COLUMN interchange.bytes IS 'Size.';
COMMENT ON COLUMN interchange.messages IS 'Messages in it, those that cannot be read among them.';
COMMENT ON COLUMN interchange.batches IS 'BHS segments in it.';
COMMENT ON COLUMN interchange.envelope IS 'file: FHS; batch: BHS; bare: neither.';
COMMENT ON COLUMN interchange.control_id IS 'FHS-11 or BHS-11.';
COMMENT ON COLUMN interchange.party IS 'Who sent it, as FHS or BHS, else its first message, says.';
COMMENT ON COLUMN interchange.checked IS 'All its messages were found good before the first was published (on_bad: refuse_all).';
COMMENT ON COLUMN interchange.findings IS 'Wrong counts and missing trailers, in words.';
COMMENT ON COLUMN interchange.code IS 'Why it was refused as a whole; empty when it was not.';
COMMENT ON COLUMN interchange.reason IS 'The same for people; no patient data.';
COMMENT ON COLUMN interchange.started_at IS 'When a node began with it.';
COMMENT ON COLUMN interchange.finished_at IS 'When all its messages were stored or it was refused; null while it is under way.';
CREATE INDEX interchange_unfinished ON interchange (source, sha256) WHERE finished_at IS NULL;

CREATE TABLE interchange_item (
    interchange bigint  NOT NULL,
    number      integer NOT NULL,
    message_id  bigint  NOT NULL,
    code        text    NOT NULL,
    CONSTRAINT interchange_item_once PRIMARY KEY (interchange, number)
);
COMMENT ON TABLE interchange_item IS 'Messages of an interchange, each written in the transaction that stored its message.';
COMMENT ON COLUMN interchange_item.interchange IS 'Which interchange.';
COMMENT ON COLUMN interchange_item.number IS 'Place in it, from 1.';
COMMENT ON COLUMN interchange_item.message_id IS 'The message; the first one for a repeat.';
COMMENT ON COLUMN interchange_item.code IS 'Empty when it was routed; else why not: repeat, refused, unreadable, no_subscriber, ...';
CREATE INDEX interchange_item_message ON interchange_item (message_id);

CREATE FUNCTION record_items(p_interchange bigint[], p_number integer[], p_message bigint[], p_code text[]) RETURNS integer
LANGUAGE plpgsql STRICT AS $$
DECLARE
    v_new integer;
BEGIN
    IF cardinality(p_interchange) = 0 THEN
        RETURN 0;
    END IF;
    INSERT INTO interchange_item (interchange, number, message_id, code)
    SELECT * FROM unnest(p_interchange, p_number, p_message, p_code)
        ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_new = ROW_COUNT;
    IF v_new <> cardinality(p_interchange) THEN
        RAISE EXCEPTION 'a message of an interchange was there already' USING ERRCODE = 'OB001';
    END IF;
    RETURN v_new;
END $$;
COMMENT ON FUNCTION record_items IS 'Notes which messages of interchanges are stored. Raises OB001 when one was: another delivery of the same interchange was faster, and the engine sorts it out as it does with receive keys.';
