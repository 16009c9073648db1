-- Numbers of retention classes: messages of a class are a partition of their own, whose days go when the class says so.

CREATE TABLE retention_class (
    number smallint NOT NULL CONSTRAINT retention_class_key PRIMARY KEY,
    name   text     NOT NULL COLLATE "C" CONSTRAINT retention_class_name UNIQUE,
    CONSTRAINT retention_class_number CHECK (number > 0)
);
COMMENT ON TABLE retention_class IS 'Numbers of the retention classes of the site; given once. The default class has none: its messages have number 0.';
COMMENT ON COLUMN retention_class.number IS 'message.retention; the partition is message_<number>.';
