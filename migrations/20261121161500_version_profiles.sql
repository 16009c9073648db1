-- Message profiles get version numbers of their own, like other rules.
ALTER TABLE artifact_version DROP CONSTRAINT artifact_version_kind;
ALTER TABLE artifact_version ADD CONSTRAINT artifact_version_kind
    CHECK (kind IN ('orchestration', 'policy', 'table', 'map', 'codeset', 'profile', 'vocabulary'));
