-- A partition made with CREATE TABLE .. PARTITION OF takes ACCESS EXCLUSIVE on its parent: at midnight that waited for
-- every writer, made every writer wait, and met the transactions that write several of these tables in another order in
-- a deadlock. Attaching takes SHARE UPDATE EXCLUSIVE, which writers do not notice.
CREATE OR REPLACE FUNCTION ensure_partition(p_parent text, p_name text, p_from text, p_to text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    IF to_regclass(quote_ident(p_name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', p_name, p_parent);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', p_parent, p_name, p_from, p_to);
    RETURN true;
END $$;
