-- A message whose orchestration never waits is moved in the transaction that receives it, without work of its own, as
-- long as nothing is before it in the lane that it would have gone through.

CREATE FUNCTION require_consumed(
    p_now   timestamptz,
    p_lock  integer[],     -- every lane the transaction locks, those that it appends to too, ascending
    p_lane  integer[],
    p_tail  bigint[],      -- each lane is known to be consumed up to here
    p_since timestamptz    -- no row behind the tail of one of the lanes was created before
) RETURNS integer
LANGUAGE plpgsql STRICT AS $$
DECLARE
    v_until  timestamptz := p_now + interval '5 minutes';
    v_before boolean;
BEGIN
    -- As in append_work: all locks, then the look, so that it sees what the holder before us committed; until our commit
    -- nothing can be appended.
    PERFORM pg_advisory_xact_lock(1, l) FROM unnest(p_lock) AS l;
    SELECT bool_or((SELECT w.sequence
                      FROM work w
                     WHERE w.lane = u.lane
                       AND w.sequence > u.tail
                       AND w.created_at >= p_since
                       AND w.created_at < v_until
                     ORDER BY w.sequence
                     LIMIT 1) IS NOT NULL)
      INTO v_before
      FROM unnest(p_lane, p_tail) AS u(lane, tail);
    IF v_before THEN
        RAISE EXCEPTION 'something is before it in its lane' USING ERRCODE = 'OB005';
    END IF;
    RETURN cardinality(p_lane);
END $$;
COMMENT ON FUNCTION require_consumed IS 'The lane check of messages that go straight through: raises OB005 when work is in a lane behind what is known to be consumed. The last call before append_work.';
