//! What was archived and dropped, and which days are the next.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// A day that was archived and dropped.
#[derive(Debug, Clone)]
pub struct DroppedDay {
    /// `message` or `tracking`.
    pub parent: String,
    /// Name of the class of its messages, unless it is the default one.
    pub class: Option<String>,
    /// The day.
    pub from_at: DateTime<Utc>,
    /// Rows in its archive.
    pub rows: i64,
    /// Messages of it that something still needed.
    pub kept: i64,
    /// SHA-256 of the archive.
    pub sha256: Vec<u8>,
    /// Name of the archive.
    pub file: String,
    /// When it was dropped.
    pub dropped_at: DateTime<Utc>,
}

/// The newest days that were dropped.
///
/// # Errors
///
/// Fails when the database does.
pub async fn dropped(pool: &PgPool, limit: i64) -> sqlx::Result<Vec<DroppedDay>> {
    sqlx::query_as!(
        DroppedDay,
        r#"SELECT d.parent, r.name AS "class?", d.from_at, d.rows, d.kept, d.sha256, d.file, d.dropped_at
             FROM dropped_partition d
             LEFT JOIN retention_class r ON d.name ~ ('^message_' || r.number || '_')
            ORDER BY d.from_at DESC, d.name
            LIMIT $1"#,
        limit
    )
    .fetch_all(pool)
    .await
}

/// A day that is stored.
#[derive(Debug, Clone)]
pub struct StoredDay {
    /// Whose messages: 0 for the default class. None: tracking.
    pub class: Option<i16>,
    /// Name of that class, unless it is the default one.
    pub name: Option<String>,
    /// The day.
    pub from_at: DateTime<Utc>,
    /// Rows, as the planner estimates them; less than nothing: not known yet.
    pub rows: i64,
    /// Bytes with indexes.
    pub bytes: i64,
}

/// The oldest stored day of the messages of each class, and of tracking.
///
/// # Errors
///
/// Fails when the database does.
pub async fn oldest(pool: &PgPool) -> sqlx::Result<Vec<StoredDay>> {
    sqlx::query_as!(
        StoredDay,
        r#"SELECT DISTINCT ON (d.class) d.class, r.name AS "name?", d.from_at AS "from_at!", d.rows AS "rows!",
                  pg_total_relation_size(d.oid) AS "bytes!"
             FROM (SELECT c.oid, c.reltuples::bigint AS rows,
                          substring(p.relname FROM '^message_([0-9]+)$')::smallint AS class,
                          to_timestamp(right(c.relname, 8) || '+00', 'YYYYMMDDTZH') AS from_at
                     FROM pg_inherits i
                     JOIN pg_class c ON c.oid = i.inhrelid
                     JOIN pg_class p ON p.oid = i.inhparent
                    WHERE p.relnamespace = 'public'::regnamespace
                      AND p.relname ~ '^(message_[0-9]+|tracking)$'
                      AND c.relname ~ '_[0-9]{8}$') AS d
             LEFT JOIN retention_class r ON r.number = d.class
            ORDER BY d.class, d.from_at"#
    )
    .fetch_all(pool)
    .await
}
