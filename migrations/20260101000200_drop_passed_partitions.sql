-- What every lane has passed is dropped whole, and the fence holds for what is gone.

CREATE FUNCTION drop_passed_work(p_now timestamptz, p_keep_hours integer) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET lock_timeout = '2s' AS $$
DECLARE
    v_name   text;
    v_behind boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(4, 0);
    FOR v_name IN
        SELECT c.relname
          FROM pg_inherits i
          JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'work'::regclass
           AND c.relname ~ '^work_[0-9]{10}$'
           AND to_timestamp(substr(c.relname, 6) || '+00', 'YYYYMMDDHH24TZH') + interval '6 hours'
               <= p_now - p_keep_hours * interval '1 hour'
         ORDER BY c.relname
    LOOP
        EXECUTE format(
            'CREATE TEMPORARY TABLE passed ON COMMIT DROP AS
             SELECT l.id AS lane, t.sequence AS top,
                    greatest(l.base, (SELECT p.to_sequence FROM progress p WHERE p.lane = l.id
                                       ORDER BY p.from_sequence DESC LIMIT 1)) AS consumed
               FROM lane l
              CROSS JOIN LATERAL (SELECT w.sequence FROM %I w WHERE w.lane = l.id ORDER BY w.sequence DESC LIMIT 1) t',
            v_name);
        SELECT EXISTS (SELECT FROM passed WHERE top > consumed) INTO v_behind;
        IF NOT v_behind THEN
            -- In one transaction with the drop: an empty lane goes on counting from its base.
            UPDATE lane l SET base = greatest(l.base, p.top) FROM passed p WHERE l.id = p.lane;
            EXECUTE format('DROP TABLE %I', v_name);
            DROP TABLE passed;
            -- Up to the base the fence is the base itself; the last range stays, it is the cursor.
            DELETE FROM progress p
             USING lane l
             WHERE p.lane = l.id
               AND p.to_sequence <= l.base
               AND p.from_sequence < (SELECT max(q.from_sequence) FROM progress q WHERE q.lane = l.id);
            RETURN v_name;
        END IF;
        DROP TABLE passed;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION drop_passed_work IS 'Drops the oldest partition of work (six hours) that every lane has consumed, with the ranges that led there, and raises the bases of the lanes. One a call, so that its locks are short; null when there is none.';

CREATE FUNCTION drop_passed_keys(p_now timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET lock_timeout = '2s' AS $$
DECLARE
    v_name    text;
    v_dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(4, 0);
    FOR v_name IN
        SELECT c.relname
          FROM pg_inherits i
          JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'duplicate'::regclass
           AND c.relname ~ '^duplicate_[0-9]{8}$'
           AND to_date(substr(c.relname, 11), 'YYYYMMDD') < (p_now AT TIME ZONE 'UTC')::date - 2
    LOOP
        EXECUTE format('DROP TABLE %I', v_name);
        v_dropped := v_dropped + 1;
    END LOOP;
    RETURN v_dropped;
END $$;
COMMENT ON FUNCTION drop_passed_keys IS 'Drops receive keys that nobody looks up any more: today and yesterday are checked, the day before is kept for clocks that differ.';

CREATE OR REPLACE FUNCTION claim_ranges(
    p_lane integer[], p_from bigint[], p_to bigint[], p_to_created_at timestamptz[], p_epoch bigint[]
) RETURNS integer
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM unnest(p_lane, p_from) AS u(lane, from_sequence) JOIN lane l ON l.id = u.lane
                WHERE u.from_sequence <= l.base) THEN
        RAISE EXCEPTION 'a range was consumed and dropped long ago'
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'progress_once_per_range';
    END IF;
    INSERT INTO progress (lane, from_sequence, to_sequence, to_created_at, epoch)
    SELECT * FROM unnest(p_lane, p_from, p_to, p_to_created_at, p_epoch);
    RETURN cardinality(p_lane);
END $$;
