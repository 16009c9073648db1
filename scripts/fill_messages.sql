-- Fills a database with made-up messages of the past, to measure searches: psql -v messages=10000000 -v days=90 -f ...
-- The schema must be there (start the server once, or apply `migrations`). Nothing of it is routed or sent; the audit
-- chain of such a database is not whole. Two tracking rows a message, 100,000 patients, 40 senders. Each message can be searched
-- by an order.placer of its own (`O1N7` for the seventh message of yesterday) and by its party.name, as if both were declared.
\set ON_ERROR_STOP on
SET synchronous_commit = off;
INSERT INTO source (kind, name) SELECT 'receive_location', 'fill-' || n || '/mllp' FROM generate_series(0, 39) n
    ON CONFLICT DO NOTHING;
INSERT INTO subscriber (kind, name) VALUES ('send_port', 'fill-out') ON CONFLICT DO NOTHING;
SELECT sum(ensure_partitions(date_trunc('day', now()) - n * interval '1 day', 0, 0)) AS partitions
  FROM generate_series(1, :days) n;

INSERT INTO search_property (name, since) VALUES ('order.placer', '2025-01-01'), ('party.name', '2025-01-01')
    ON CONFLICT DO NOTHING;

-- As `key_of` in engine/src/message_box/declared.rs.
CREATE OR REPLACE FUNCTION fill_key(p_name text, p_value text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT ('x' || encode(substring(sha256(int8send(octet_length(p_name)) || convert_to(p_name, 'UTF8')
        || int8send(octet_length(p_value)) || convert_to(p_value, 'UTF8')) FROM 1 FOR 8), 'hex'))::bit(64)::bigint
$$;

CREATE OR REPLACE PROCEDURE fill_messages(p_messages bigint, p_days integer) LANGUAGE plpgsql AS $$
DECLARE
    v_each bigint := p_messages / p_days;
    v_day  timestamptz;
    v_out  integer := (SELECT id FROM subscriber WHERE name = 'fill-out');
    v_in   integer[] := (SELECT array_agg(id ORDER BY id) FROM source WHERE name LIKE 'fill-%');
BEGIN
    FOR n IN 1 .. p_days LOOP
        v_day := (date_trunc('day', now() AT TIME ZONE 'UTC') - n * interval '1 day') AT TIME ZONE 'UTC';
        INSERT INTO message (id, retention, received_at, source, party, message_type, control_id, patient, body_sha256, context, body)
        SELECT message_id_at(v_day + i * (interval '86399 seconds' / v_each)) + (i & 4095), 0,
               v_day + i * (interval '86399 seconds' / v_each), v_in[1 + i % 40], 'party-' || i % 40,
               (ARRAY['ADT^A08', 'ADT^A01', 'ORU^R01', 'ORM^O01', 'SIU^S12'])[1 + i % 5],
               'C' || n || 'N' || i, 'P' || (i * 7919 + n * 104729) % 100000, '\x00',
               -- One value, kept whole: what `has` in declared.rs reads.
               '\x01010c'::bytea || 'order.placer'::bytea || '\x00'::bytea
                   || set_byte('\x00', 0, length('O' || n || 'N' || i)) || convert_to('O' || n || 'N' || i, 'UTF8'),
               convert_to('MSH|^~\&|FILL|TEST|||20260301||ADT^A08|C' || n || 'N' || i || '|P|2.5.1' || chr(13)
                   || 'PID|1||P' || (i * 7919 + n * 104729) % 100000 || repeat('|x', 150), 'UTF8')
          FROM generate_series(1, v_each) i;
        INSERT INTO message_search (key, id, retention)
        SELECT k.key, m.id, 0
          FROM message m,
               LATERAL (VALUES (fill_key('order.placer', 'O' || substr(m.control_id, 2))),
                               (fill_key('party.name', m.party))) AS k(key)
         WHERE m.id >= message_id_at(v_day) AND m.id < message_id_at(v_day + interval '1 day');
        INSERT INTO tracking (at, node, kind, message_id, subscriber, config_version, chain, block, position)
        SELECT m.received_at + k.after, 0, k.kind, m.id, CASE k.kind WHEN 6 THEN v_out END, 1, 1, 1, 1
          FROM message m, (VALUES (1::smallint, interval '0'), (6::smallint, interval '50 milliseconds')) k(kind, after)
         WHERE m.id >= message_id_at(v_day) AND m.id < message_id_at(v_day + interval '1 day');
        COMMIT;
    END LOOP;
END $$;
CALL fill_messages(:messages, :days);
DROP PROCEDURE fill_messages;
DROP FUNCTION fill_key;
ANALYZE message, message_search, tracking;
