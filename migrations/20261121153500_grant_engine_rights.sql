-- What the engine may do. Run at each start by the owner, so that tables of later migrations get their rights too.

CREATE FUNCTION grant_engine_rights() RETURNS integer
LANGUAGE plpgsql SET search_path = public AS $$
DECLARE
    -- Added to, never changed: no UPDATE, no DELETE. What is old goes with its partition, by functions of the owner.
    v_record CONSTANT text[] := '{message, tracking, audit_block, audit_anchor, access_entry, work, progress,
                                  message_search, file_content, config_version, config_file}';
    v_table  record;
    v_done   integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(4, 1);
    FOR v_table IN
        SELECT t.name, t.rights
          FROM (SELECT c.relname AS name,
                       c.oid,
                       CASE WHEN c.relname = '_sqlx_migrations' THEN ARRAY['SELECT']
                            WHEN c.relname = ANY (v_record) THEN ARRAY['SELECT', 'INSERT']
                            ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']
                        END AS rights
                  FROM pg_class c
                 WHERE c.relnamespace = 'public'::regnamespace
                   AND c.relkind IN ('r', 'p')
                   AND NOT c.relispartition) AS t
         WHERE EXISTS (SELECT FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS r(right_name)
                        WHERE has_table_privilege('orderly_engine', t.oid, r.right_name)
                              IS DISTINCT FROM (r.right_name = ANY (t.rights)))
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE %I FROM orderly_engine', v_table.name);
        EXECUTE format('GRANT %s ON TABLE %I TO orderly_engine', array_to_string(v_table.rights, ', '), v_table.name);
        v_done := v_done + 1;
    END LOOP;
    IF v_done > 0 THEN
        GRANT USAGE ON SCHEMA public TO orderly_engine;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO orderly_engine;
    END IF;
    RETURN v_done;
END $$;
COMMENT ON FUNCTION grant_engine_rights IS 'Gives the role orderly_engine its rights to all tables: the record of messages, work, tracking, audit and configuration can be added to, not changed. Answers how many tables lacked them.';
