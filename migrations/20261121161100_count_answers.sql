-- Answers that refused, and control ids that came again with other bytes: what two alert rules look at.
ALTER TABLE port_minute
    ADD COLUMN refused       bigint NOT NULL DEFAULT 0,
    ADD COLUMN other_content bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN port_minute.minute IS 'Begin of the minute, UTC.';
COMMENT ON COLUMN port_minute.refused IS 'Of a send port: answers that refused a message (AE, AR, CE, CR and what cannot be read).';
COMMENT ON COLUMN port_minute.other_content IS 'Of a receive location: messages whose control id came before with other bytes.';

-- Mails above the limit of one person wait a little and leave as one.
ALTER TABLE outgoing_mail ADD COLUMN held boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN outgoing_mail.held IS 'True for mails above the hourly limit of their recipient: they leave summed up in one mail.';
