-- What the message box writes, one function for each kind of row. A transaction of the engine is one SELECT that calls
-- those it needs: one round trip. Every function is VOLATILE PL/pgSQL, so that each of its statements sees what was
-- committed before that statement began; append_work depends on it.
--
-- Rows are read from the arrays by subscript: unnest with many arrays keeps each in a tuple store of its own, which
-- costs a tenth of the whole transaction. What is seldom needed is STRICT and gets nulls then: the call is spared.
--
-- Error states the engine tells apart: OB001 a receive key was there already; OB002 an instance was moved by somebody
-- else; OB003 a parked row or timer was taken by somebody else. A second owner fails on progress_once_per_range (23505).

-- Partitions ------------------------------------------------------------------------------------------------

CREATE FUNCTION ensure_partition(p_parent text, p_name text, p_from text, p_to text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    IF to_regclass(quote_ident(p_name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', p_name, p_parent, p_from, p_to);
    RETURN true;
END $$;
COMMENT ON FUNCTION ensure_partition IS 'Makes one range partition unless it exists.';

CREATE FUNCTION message_id_at(p_at timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT floor(extract(epoch FROM p_at - timestamptz '2025-01-01 00:00:00+00') * 1000)::bigint << 22
$$;
COMMENT ON FUNCTION message_id_at IS 'Smallest message id of that instant.';

CREATE FUNCTION ensure_partitions(p_now timestamptz, p_days integer, p_hours integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    v_day   timestamptz;
    v_hour  timestamptz;
    v_table text;
    v_class smallint;
    v_made  integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(4, 0);
    FOR v_table, v_class IN
        SELECT t.name, c.number
          FROM (VALUES ('message'), ('message_search')) AS t(name),
               (SELECT 0 AS number UNION ALL SELECT number FROM retention_class) AS c
         ORDER BY t.name, c.number
    LOOP
        IF to_regclass(v_table || '_' || v_class) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) PARTITION BY RANGE (id)', v_table || '_' || v_class, v_table);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES IN (%s)', v_table, v_table || '_' || v_class, v_class);
        END IF;
        FOR n IN -1 .. p_days LOOP
            v_day := (date_trunc('day', p_now AT TIME ZONE 'UTC') + n * interval '1 day') AT TIME ZONE 'UTC';
            v_made := v_made + ensure_partition(v_table || '_' || v_class,
                v_table || '_' || v_class || '_' || to_char(v_day AT TIME ZONE 'UTC', 'YYYYMMDD'),
                message_id_at(v_day)::text, message_id_at(v_day + interval '1 day')::text)::integer;
        END LOOP;
    END LOOP;
    FOR n IN -1 .. p_days LOOP
        v_day := (date_trunc('day', p_now AT TIME ZONE 'UTC') + n * interval '1 day') AT TIME ZONE 'UTC';
        v_made := v_made
            + ensure_partition('duplicate', 'duplicate_' || to_char(v_day AT TIME ZONE 'UTC', 'YYYYMMDD'),
                (v_day AT TIME ZONE 'UTC')::date::text, ((v_day AT TIME ZONE 'UTC')::date + 1)::text)::integer
            + ensure_partition('tracking', 'tracking_' || to_char(v_day AT TIME ZONE 'UTC', 'YYYYMMDD'),
                v_day::text, (v_day + interval '1 day')::text)::integer;
    END LOOP;
    -- Six hours each: a generic plan locks every partition of work at each probe, so they are few.
    FOR n IN -1 .. ceil(p_hours / 6.0)::integer LOOP
        v_hour := date_bin('6 hours', p_now, timestamptz '2025-01-01 00:00:00+00') + n * interval '6 hours';
        v_made := v_made
            + ensure_partition('work', 'work_' || to_char(v_hour AT TIME ZONE 'UTC', 'YYYYMMDDHH24'),
                v_hour::text, (v_hour + interval '6 hours')::text)::integer;
    END LOOP;
    RETURN v_made;
END $$;
COMMENT ON FUNCTION ensure_partitions IS 'Makes the partitions of message and message_search (of each retention class), duplicate and tracking for the days ahead and of work for the hours ahead; run at start and hourly.';

-- Lanes -----------------------------------------------------------------------------------------------------

CREATE FUNCTION append_work(
    p_now      timestamptz,
    p_lane     integer[],     -- each lane once, ascending
    p_hint     timestamptz[], -- the first counts: not after the newest row of any of the lanes, less five minutes
    p_place    integer[],     -- per row: index in p_lane
    p_number   integer[],     -- per row: 1, 2, .. within its lane
    p_kind     smallint[],
    p_subject  bigint[],
    p_key      bigint[],
    p_instance bigint[],
    p_detail   bytea[]
) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    v_tail  bigint[];
    v_since timestamptz;
    v_until timestamptz;
BEGIN
    IF cardinality(p_lane) = 0 THEN
        RETURN '{}';
    END IF;
    -- All locks before any probe, ascending: no deadlocks, and every probe sees what the holder before us committed.
    PERFORM pg_advisory_xact_lock(1, l) FROM unnest(p_lane) AS l;

    -- Both bounds on created_at, and both plain parameters, so that a generic plan visits one or two partitions and not
    -- all that are kept and were made ahead.
    v_since := p_hint[1];
    v_until := p_now + interval '5 minutes';
    SELECT array_agg(coalesce((
               SELECT w.sequence
                 FROM work w
                WHERE w.lane = u.lane
                  AND w.created_at >= v_since
                  AND w.created_at < v_until
                ORDER BY w.sequence DESC
                LIMIT 1), -1) ORDER BY u.place)
      INTO v_tail
      FROM unnest(p_lane) WITH ORDINALITY AS u(lane, place);

    IF -1 = ANY (v_tail) THEN
        SELECT array_agg(CASE WHEN u.tail >= 0 THEN u.tail ELSE greatest(
                   coalesce((SELECT w.sequence FROM work w WHERE w.lane = u.lane ORDER BY w.sequence DESC LIMIT 1), 0),
                   (SELECT l.base FROM lane l WHERE l.id = u.lane)) END ORDER BY u.place)
          INTO v_tail
          FROM unnest(p_lane, v_tail) WITH ORDINALITY AS u(lane, tail, place);
    END IF;

    INSERT INTO work (lane, sequence, created_at, kind, subject, key, instance, detail)
    SELECT p_lane[p_place[r]], v_tail[p_place[r]] + p_number[r], p_now, p_kind[r], p_subject[r], p_key[r], p_instance[r],
           p_detail[r]
      FROM generate_series(1, cardinality(p_place)) AS r;
    RETURN v_tail;
END $$;
COMMENT ON FUNCTION append_work IS 'Appends work to lanes under their locks, so that sequences are dense and in commit order; answers each lane''s tail before. The last call of every transaction.';

CREATE FUNCTION claim_ranges(p_lane integer[], p_from bigint[], p_to bigint[], p_to_created_at timestamptz[], p_epoch bigint[])
RETURNS integer
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO progress (lane, from_sequence, to_sequence, to_created_at, epoch)
    SELECT p_lane[r], p_from[r], p_to[r], p_to_created_at[r], p_epoch[r]
      FROM generate_series(1, cardinality(p_lane)) AS r;
    RETURN cardinality(p_lane);
END $$;
COMMENT ON FUNCTION claim_ranges IS 'The fence: a range of a lane can be consumed once. The first call of every transaction that consumes work.';

-- Messages --------------------------------------------------------------------------------------------------

CREATE FUNCTION remember_keys(
    p_day     date,
    p_key     bigint[],   -- ascending, so that two callers wait for each other in one order
    p_message bigint[]
) RETURNS integer
LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(p_key) = 0 THEN
        RETURN 0;
    END IF;
    INSERT INTO duplicate (day, key, message_id)
    SELECT p_day, p_key[r], p_message[r]
      FROM generate_series(1, cardinality(p_key)) AS r;
    IF EXISTS (SELECT FROM duplicate d WHERE d.day = p_day - 1 AND d.key = ANY (p_key)) THEN
        RAISE EXCEPTION 'a receive key was there already' USING ERRCODE = 'OB001';
    END IF;
    RETURN cardinality(p_key);
END $$;
COMMENT ON FUNCTION remember_keys IS 'Notes receive keys. Fails on the key of duplicate when one was seen today, and raises OB001 when one was seen yesterday: the block and the lane counts of the batch are computed before the call, so the engine sorts the repeats out and calls again.';

CREATE FUNCTION store_messages(
    p_now timestamptz, p_id bigint[], p_retention smallint[], p_parent bigint[], p_source integer[], p_party text[],
    p_type text[], p_control_id text[], p_patient text[], p_charset smallint[], p_sha256 bytea[], p_context bytea[],
    p_body bytea[]
) RETURNS integer
LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(p_id) = 0 THEN
        RETURN 0;
    END IF;
    INSERT INTO message (id, retention, parent, received_at, source, party, message_type, control_id, patient, charset,
                         body_sha256, context, body)
    SELECT p_id[r], p_retention[r], p_parent[r], p_now, p_source[r], p_party[r], p_type[r], p_control_id[r], p_patient[r],
           p_charset[r], p_sha256[r], p_context[r], p_body[r]
      FROM generate_series(1, cardinality(p_id)) AS r;
    RETURN cardinality(p_id);
END $$;
COMMENT ON FUNCTION store_messages IS 'Stores messages exactly as given.';

-- Parked work -----------------------------------------------------------------------------------------------

CREATE FUNCTION park_work(
    p_now timestamptz, p_id bigint[], p_lane integer[], p_subscriber integer[], p_sequence bigint[], p_kind smallint[],
    p_subject bigint[], p_key bigint[], p_instance bigint[], p_detail bytea[], p_state smallint[], p_attempt integer[],
    p_due_at timestamptz[], p_code text[], p_reason text[]
) RETURNS integer
LANGUAGE plpgsql STRICT AS $$
BEGIN
    IF cardinality(p_id) = 0 THEN
        RETURN 0;
    END IF;
    INSERT INTO parked (id, lane, subscriber, sequence, kind, subject, key, instance, detail, state, attempt, first_at,
                        due_at, code, reason)
    SELECT u.id, u.lane, u.subscriber, u.sequence, u.kind, u.subject, u.key, u.instance, u.detail, u.state, u.attempt,
           p_now, u.due_at, u.code, u.reason
      FROM unnest(p_id, p_lane, p_subscriber, p_sequence, p_kind, p_subject, p_key, p_instance, p_detail, p_state,
                  p_attempt, p_due_at, p_code, p_reason)
           AS u(id, lane, subscriber, sequence, kind, subject, key, instance, detail, state, attempt, due_at, code, reason);
    RETURN cardinality(p_id);
END $$;
COMMENT ON FUNCTION park_work IS 'Takes work out of its lane: for a retry, for a person, or behind a parked key.';

CREATE FUNCTION change_parked(
    p_id bigint[], p_state smallint[], p_attempt integer[], p_due_at timestamptz[], p_code text[], p_reason text[]
) RETURNS integer
LANGUAGE plpgsql STRICT AS $$
DECLARE
    v_hit integer;
BEGIN
    IF cardinality(p_id) = 0 THEN
        RETURN 0;
    END IF;
    -- A person who suspended it while it was tried has the last word.
    UPDATE parked p
       SET state = CASE WHEN p.state = 2 THEN 2 ELSE u.state END, attempt = u.attempt,
           due_at = CASE WHEN p.state = 2 THEN NULL ELSE u.due_at END, code = u.code, reason = u.reason,
           version = p.version + 1
      FROM unnest(p_id, p_state, p_attempt, p_due_at, p_code, p_reason) AS u(id, state, attempt, due_at, code, reason)
     WHERE p.id = u.id;
    GET DIAGNOSTICS v_hit = ROW_COUNT;
    IF v_hit <> cardinality(p_id) THEN
        RAISE EXCEPTION 'parked work was taken by somebody else' USING ERRCODE = 'OB003';
    END IF;
    RETURN v_hit;
END $$;
COMMENT ON FUNCTION change_parked IS 'Puts another attempt, due time or cause on parked work; each row must be there.';

CREATE FUNCTION unpark(p_id bigint[]) RETURNS integer
LANGUAGE plpgsql STRICT AS $$
DECLARE
    v_hit integer;
BEGIN
    IF cardinality(p_id) = 0 THEN
        RETURN 0;
    END IF;
    DELETE FROM parked WHERE id = ANY (p_id);
    GET DIAGNOSTICS v_hit = ROW_COUNT;
    IF v_hit <> cardinality(p_id) THEN
        RAISE EXCEPTION 'parked work was taken by somebody else' USING ERRCODE = 'OB003';
    END IF;
    RETURN v_hit;
END $$;
COMMENT ON FUNCTION unpark IS 'Parked work that was delivered or given up; each row must be there, so only one delivery of a retry counts.';

CREATE FUNCTION lock_parked(p_lane integer[]) RETURNS integer
LANGUAGE plpgsql STRICT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(6, l) FROM unnest(p_lane) AS l;
    RETURN cardinality(p_lane);
END $$;
COMMENT ON FUNCTION lock_parked IS 'Whoever adds or removes parked rows of a lane holds its lock, so that nothing stays behind a head that is gone. Lanes ascending.';

CREATE FUNCTION release_parked(p_now timestamptz, p_lane integer[], p_key bigint[]) RETURNS boolean[]
LANGUAGE plpgsql STRICT AS $$
BEGIN
    IF cardinality(p_lane) = 0 THEN
        RETURN '{}';
    END IF;
    UPDATE parked p
       SET state = 1, due_at = p_now, version = p.version + 1
      FROM (SELECT DISTINCT u.lane, u.key FROM unnest(p_lane, p_key) AS u(lane, key)) u
     WHERE p.id = (SELECT b.id FROM parked b
                    WHERE b.lane = u.lane AND b.key = u.key AND b.state = 3
                    ORDER BY b.sequence LIMIT 1)
       AND NOT EXISTS (SELECT FROM parked h WHERE h.lane = u.lane AND h.key = u.key AND h.state <> 3);
    RETURN (SELECT array_agg(EXISTS (SELECT FROM parked p WHERE p.lane = u.lane AND p.key = u.key) ORDER BY u.place)
              FROM unnest(p_lane, p_key) WITH ORDINALITY AS u(lane, key, place));
END $$;
COMMENT ON FUNCTION release_parked IS 'Where a key has no head any more, the first of what waits behind it becomes one, due now. Tells for each key whether anything of it is still parked.';

CREATE FUNCTION close_expectations(p_message bigint[], p_instance bigint[], p_send integer[]) RETURNS integer
LANGUAGE plpgsql STRICT AS $$
BEGIN
    IF cardinality(p_message) > 0 THEN
        DELETE FROM expectation e
         USING unnest(p_message, p_instance, p_send) AS u(message, instance, send)
         WHERE e.message_id = u.message
           AND e.instance = u.instance
           AND e.send = u.send;
    END IF;
    RETURN cardinality(p_message);
END $$;
COMMENT ON FUNCTION close_expectations IS 'The awaited answers have come, or never will.';

-- Orchestrations --------------------------------------------------------------------------------------------

CREATE FUNCTION fire_timers(p_fired_instance bigint[], p_fired_token integer[]) RETURNS integer
LANGUAGE plpgsql STRICT AS $$
DECLARE
    v_hit integer;
BEGIN
    IF cardinality(p_fired_instance) > 0 THEN
        DELETE FROM timer t
         USING unnest(p_fired_instance, p_fired_token) AS u(instance, token)
         WHERE t.instance = u.instance
           AND t.token = u.token;
        GET DIAGNOSTICS v_hit = ROW_COUNT;
        IF v_hit <> cardinality(p_fired_instance) THEN
            RAISE EXCEPTION 'a timer was fired or cancelled by somebody else' USING ERRCODE = 'OB003';
        END IF;
    END IF;
    RETURN cardinality(p_fired_instance);
END $$;
COMMENT ON FUNCTION fire_timers IS 'Takes the timers of a batch away before their instances can end. Each must be there: it fires once.';

CREATE FUNCTION save_instances(
    p_now timestamptz,
    p_id bigint[], p_orchestration integer[], p_config_version bigint[], p_lane integer[],
    p_turn bigint[],      -- the turn that was read; 0: the instance is new
    p_next_turn bigint[], -- the last turn made
    p_state smallint[], p_waiting text[], p_suspend_code text[], p_blob bytea[],
    p_ended bigint[], p_ended_turn bigint[]
) RETURNS integer
LANGUAGE plpgsql STRICT AS $$
DECLARE
    v_hit  integer;
    v_want integer;
BEGIN
    IF cardinality(p_id) > 0 THEN
        INSERT INTO instance (id, orchestration, config_version, lane, turn, state, waiting, suspend_code, state_blob,
                              started_at, updated_at)
        SELECT u.id, u.orchestration, u.config_version, u.lane, u.next_turn, u.state, u.waiting, u.suspend_code, u.blob,
               p_now, p_now
          FROM unnest(p_id, p_orchestration, p_config_version, p_lane, p_turn, p_next_turn, p_state, p_waiting,
                      p_suspend_code, p_blob)
               AS u(id, orchestration, config_version, lane, turn, next_turn, state, waiting, suspend_code, blob)
         WHERE u.turn = 0;
        UPDATE instance i
           SET turn = u.next_turn, state = u.state, waiting = u.waiting, suspend_code = u.suspend_code,
               state_blob = u.blob, updated_at = p_now, version = i.version + 1
          FROM unnest(p_id, p_turn, p_next_turn, p_state, p_waiting, p_suspend_code, p_blob)
               AS u(id, turn, next_turn, state, waiting, suspend_code, blob)
         WHERE u.turn > 0
           AND i.id = u.id
           AND i.turn = u.turn;
        GET DIAGNOSTICS v_hit = ROW_COUNT;
        SELECT count(*) INTO v_want FROM unnest(p_turn) AS t WHERE t > 0;
        IF v_hit <> v_want THEN
            RAISE EXCEPTION 'an instance was moved by somebody else' USING ERRCODE = 'OB002';
        END IF;
    END IF;
    IF cardinality(p_ended) > 0 THEN
        DELETE FROM instance i
         USING unnest(p_ended, p_ended_turn) AS u(id, turn)
         WHERE i.id = u.id
           AND i.turn = u.turn;
        GET DIAGNOSTICS v_hit = ROW_COUNT;
        IF v_hit <> cardinality(p_ended) THEN
            RAISE EXCEPTION 'an instance was moved by somebody else' USING ERRCODE = 'OB002';
        END IF;
        DELETE FROM correlation WHERE instance = ANY (p_ended);
        DELETE FROM timer WHERE instance = ANY (p_ended);
        DELETE FROM expectation WHERE instance = ANY (p_ended);
        UPDATE task SET state = 4, closed_at = p_now, version = version + 1
         WHERE instance = ANY (p_ended) AND state < 2;
    END IF;
    RETURN cardinality(p_id) + cardinality(p_ended);
END $$;
COMMENT ON FUNCTION save_instances IS 'Writes the states of dehydrated instances and deletes ended ones with all they waited for. Every instance must stand at the turn that was read.';

CREATE FUNCTION save_waits(
    p_now timestamptz,
    p_cancelled_instance bigint[], p_cancelled_token integer[],
    p_timer_lane integer[], p_timer_due_at timestamptz[], p_timer_instance bigint[], p_timer_token integer[],
    p_orchestration integer[], p_set text[], p_key bytea[], p_holder bigint[], p_lane integer[], p_shared boolean[],
    p_expect_message bigint[], p_expect_instance bigint[], p_expect_send integer[], p_expect_lane integer[],
    p_expect_control_id text[], p_expect_port integer[], p_expect_kind text[],
    p_withdrawn_instance bigint[], p_withdrawn_send integer[]
) RETURNS integer
LANGUAGE plpgsql STRICT AS $$
BEGIN
    IF cardinality(p_cancelled_instance) > 0 THEN
        DELETE FROM timer t
         USING unnest(p_cancelled_instance, p_cancelled_token) AS u(instance, token)
         WHERE t.instance = u.instance
           AND t.token = u.token;
    END IF;
    IF cardinality(p_timer_instance) > 0 THEN
        INSERT INTO timer (lane, due_at, instance, token)
        SELECT * FROM unnest(p_timer_lane, p_timer_due_at, p_timer_instance, p_timer_token)
            ON CONFLICT (instance, token) DO UPDATE SET due_at = excluded.due_at;
    END IF;
    IF cardinality(p_holder) > 0 THEN
        INSERT INTO correlation (orchestration, correlation_set, key, instance, lane, shared)
        SELECT * FROM unnest(p_orchestration, p_set, p_key, p_holder, p_lane, p_shared);
    END IF;
    IF cardinality(p_withdrawn_instance) > 0 THEN
        DELETE FROM expectation e
         USING unnest(p_withdrawn_instance, p_withdrawn_send) AS u(instance, send)
         WHERE e.instance = u.instance
           AND e.send = u.send;
    END IF;
    IF cardinality(p_expect_message) > 0 THEN
        INSERT INTO expectation (message_id, instance, send, lane, control_id, send_port, kind, opened_at)
        SELECT u.*, p_now
          FROM unnest(p_expect_message, p_expect_instance, p_expect_send, p_expect_lane, p_expect_control_id,
                      p_expect_port, p_expect_kind) AS u;
    END IF;
    RETURN 0;
END $$;
COMMENT ON FUNCTION save_waits IS 'Timers, correlations and expectations of a batch of turns.';

CREATE FUNCTION save_people_work(p_now timestamptz, p_tasks jsonb, p_changes jsonb, p_mails jsonb) RETURNS integer
LANGUAGE plpgsql AS $$
BEGIN
    IF p_tasks IS NOT NULL THEN
        INSERT INTO task (id, instance, ordinal, lane, orchestration, step, kind, title, roles, users, excluded, outcomes,
                          reason_for, quorum, sign, fields, snapshot, snapshot_sha256, message_id, priority, created_at,
                          due_at, expires_at, state, closed_at)
        SELECT t.id, t.instance, t.ordinal, t.lane, t.orchestration, t.step, t.kind, t.title, t.roles, t.users, t.excluded,
               t.outcomes, t.reason_for, t.quorum, t.sign, t.fields, t.snapshot, decode(t.snapshot_sha256, 'hex'),
               t.message_id, t.priority, p_now, t.due_at, t.expires_at, t.state, CASE WHEN t.state > 1 THEN p_now END
          FROM jsonb_to_recordset(p_tasks) AS t(
               id bigint, instance bigint, ordinal integer, lane integer, orchestration integer, step text, kind text,
               title text, roles text[], users text[], excluded text[], outcomes text[], reason_for text[],
               quorum integer, sign boolean, fields jsonb, snapshot jsonb, snapshot_sha256 text, message_id bigint,
               priority smallint, due_at timestamptz, expires_at timestamptz, state smallint);
    END IF;
    IF p_changes IS NOT NULL THEN
        UPDATE task t
           SET roles = coalesce(c.roles, t.roles),
               claimed_by = CASE WHEN c.roles IS NULL THEN t.claimed_by END,
               priority = coalesce(c.priority, t.priority),
               escalated = t.escalated + CASE WHEN c.state IS NULL THEN 1 ELSE 0 END,
               state = coalesce(c.state, t.state),
               closed_at = CASE WHEN c.state IS NULL THEN t.closed_at ELSE p_now END,
               version = t.version + 1
          FROM jsonb_to_recordset(p_changes) AS c(
               instance bigint, ordinal integer, roles text[], priority smallint, state smallint)
         WHERE t.instance = c.instance
           AND t.ordinal = c.ordinal
           AND t.state < 2;
    END IF;
    IF p_mails IS NOT NULL THEN
        INSERT INTO outgoing_mail (id, recipient, subject, body, link, thread, instance, created_at, due_at)
        SELECT m.id, m.recipient, m.subject, m.body, m.link, m.thread, m.instance, p_now, p_now
          FROM jsonb_to_recordset(p_mails) AS m(
               id bigint, recipient text, subject text, body text, link text, thread text, instance bigint);
    END IF;
    RETURN 0;
END $$;
COMMENT ON FUNCTION save_people_work IS 'New tasks, changes of open tasks (reassigned, prioritised, withdrawn) and mails; JSON because they are rare and wide. Null: none.';

-- Tracking --------------------------------------------------------------------------------------------------

CREATE FUNCTION record_tracking(
    p_now timestamptz, p_node smallint, p_kind smallint[], p_message bigint[], p_instance bigint[], p_subscriber integer[],
    p_task bigint[], p_person text[], p_config_version bigint[], p_detail bytea[],
    p_chain integer, p_block bigint, p_root bytea, p_previous bytea, p_hash bytea
) RETURNS integer
LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(p_kind) = 0 THEN
        RETURN 0;
    END IF;
    INSERT INTO tracking (at, node, kind, message_id, instance, subscriber, task, person, config_version, detail, chain,
                          block, position)
    SELECT p_now, p_node, p_kind[r], p_message[r], p_instance[r], p_subscriber[r], p_task[r], p_person[r],
           p_config_version[r], p_detail[r], p_chain, p_block, r
      FROM generate_series(1, cardinality(p_kind)) AS r;
    INSERT INTO audit_block (chain, number, at, rows, root, previous, hash)
    VALUES (p_chain, p_block, p_now, cardinality(p_kind), p_root, p_previous, p_hash);
    RETURN cardinality(p_kind);
END $$;
COMMENT ON FUNCTION record_tracking IS 'Tracking rows of one batch and the audit block over them.';
